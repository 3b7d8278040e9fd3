"""Segments that are built once, and the drivers that this machine allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pageann.errors import StorageError
from pageann.index.search.load import LoadedSegment
from pageann.storage.io.ring import Ring
from tests.index.search.engines import DRIVERS, Sample, build_sample


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn; skips where io_uring is not to be had."""
    name: str = request.param
    if name == "uring":
        try:
            Ring(1).close()
        except StorageError as error:
            pytest.skip(str(error))
    return name


@pytest.fixture
def uring() -> None:
    """Skips where io_uring is not to be had."""
    try:
        Ring(1).close()
    except StorageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sample]:
    """The sample of a kind, built when first asked for."""
    built: dict[str, Sample] = {}
    folder = tmp_path_factory.mktemp("segments")

    def get(name: str) -> Sample:
        if name not in built:
            built[name] = build_sample(name, folder)
        return built[name]

    return get


@pytest.fixture
def codes(sample_of: Callable[[str], Sample]) -> Sample:
    """Codes of all vectors are resident."""
    return sample_of("codes")


@pytest.fixture
def two_steps(sample_of: Callable[[str], Sample]) -> Sample:
    """Quantised pages, and exact records behind them."""
    return sample_of("two-steps")


@pytest.fixture
def segment(codes: Sample) -> Iterator[LoadedSegment]:
    """``codes``, open."""
    opened = codes.load()
    yield opened
    opened.close()
