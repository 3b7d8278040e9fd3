"""Files to read, and the drivers that this machine allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pageann.errors import StorageError
from pageann.storage.io.files import OpenedFile, open_for_reading
from pageann.storage.io.ring import Ring
from tests.storage.io.batches import DRIVER_NAMES

FILE_BYTES = 64 * 4096 + 1234
"""The last page is a part of one."""


@pytest.fixture(scope="session")
def uring() -> None:
    """Skips where io_uring is not to be had."""
    try:
        Ring(1).close()
    except StorageError as error:
        pytest.skip(str(error))


@pytest.fixture(params=DRIVER_NAMES)
def driver_name(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    name: str = request.param
    if name == "uring":
        request.getfixturevalue("uring")
    return name


@pytest.fixture(scope="session")
def content() -> bytes:
    """The bytes of the file that tests read."""
    return np.random.default_rng(7).bytes(FILE_BYTES)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Path:
    """That file."""
    path = tmp_path_factory.mktemp("io") / "pages.bin"
    path.write_bytes(content)
    return path


@pytest.fixture
def buffered(path: Path) -> Iterator[OpenedFile]:
    """The file, through the page cache: no alignment is asked."""
    with open_for_reading(path, direct=False) as opened:
        yield opened


@pytest.fixture
def direct(path: Path) -> Iterator[OpenedFile]:
    """The file, past the page cache; skips where the file system has no direct reads."""
    with open_for_reading(path) as opened:
        if not opened.direct:
            pytest.skip(f"no direct reads in {path.parent}")
        yield opened
