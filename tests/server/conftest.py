"""One small index that all tests of the server share, and one that each may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pageann.server import ServerThread
from tests.library.samples import Kind, Sample, build_sample
from tests.server.serving import Caller, calling, served


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """An index of 900 vectors; nobody changes it."""
    return build_sample(Kind(), tmp_path_factory.mktemp("server") / "sample.pageann")


@pytest.fixture
def own_sample(sample: Sample, tmp_path: Path) -> Sample:
    """A copy of it, to be replaced or damaged."""
    path = tmp_path / "own.pageann"
    shutil.copytree(sample.path, path)
    return Sample(sample.kind, path, sample.base, sample.queries, sample.ids)


@pytest.fixture(scope="module")
def server(sample: Sample) -> Iterator[ServerThread]:
    """A server of the sample, with metrics."""
    with served(sample.path, metrics_listen="127.0.0.1:0") as server:
        yield server


@pytest.fixture
def caller(server: ServerThread) -> Iterator[Caller]:
    """A client of that server."""
    with calling(server.address) as caller:
        yield caller
