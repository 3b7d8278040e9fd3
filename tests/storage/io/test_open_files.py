"""Files open past the page cache where that works, and still open where it does not.

Some file systems refuse O_DIRECT at open, some only at the first read, and files in memory accept it
for nothing. An index must open on all of them, and say truly whether a device is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.errors import IndexClosed, InvalidArgument, StorageError
from pageann.storage.io import files
from pageann.storage.io.files import AlignedBuffer, OpenedFile, open_for_reading
from tests.storage.io.batches import batch_of, make_driver, read
from tests.storage.io.conftest import FILE_BYTES


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A file on tmpfs."""
    path = Path("/dev/shm") / f"pageann-test-{os.getpid()}.bin"
    if not path.parent.is_dir():
        pytest.skip("no tmpfs at /dev/shm")
    path.write_bytes(bytes(range(256)) * 40)
    yield path
    path.unlink()


def test_a_direct_file_says_its_size_and_alignment(direct: OpenedFile) -> None:
    assert direct.size_bytes == FILE_BYTES
    assert 512 <= direct.alignment_bytes <= 4096
    assert direct.alignment_bytes & (direct.alignment_bytes - 1) == 0


def test_buffered_on_request(path: Path) -> None:
    with open_for_reading(path, direct=False) as opened:
        assert (opened.direct, opened.alignment_bytes, opened.size_bytes) == (False, 1, FILE_BYTES)


def test_files_in_memory_are_not_called_direct(in_memory: Path, driver_name: str) -> None:
    with open_for_reading(in_memory) as opened, make_driver(driver_name) as driver:
        assert (opened.direct, opened.alignment_bytes) == (False, 1)
        batch = batch_of([(opened.fd, 3, 300), (opened.fd, 10_000, 1000)])
        assert read(driver, batch) == [300, 240]
        assert batch.bytes_of(0) == (bytes(range(256)) * 2)[3:303]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_refusal_at_open_falls_back(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real_open = os.open

    def refusing_open(name: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(number, "refused")
        return real_open(name, flags, *rest)

    monkeypatch.setattr(os, "open", refusing_open)
    with open_for_reading(path) as opened:
        assert (opened.direct, opened.alignment_bytes) == (False, 1)


def test_a_refusal_at_the_first_read_falls_back_and_keeps_no_descriptor(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing_read(*arguments: Any) -> int:
        raise OSError(errno.EINVAL, "refused")

    monkeypatch.setattr(os, "preadv", refusing_read)
    before = len(os.listdir("/proc/self/fd"))
    with open_for_reading(path) as opened:
        assert not opened.direct
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_file_that_takes_no_direct_reads_is_buffered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "direct_alignments", lambda fd: (0, 0))
    with open_for_reading(path) as opened:
        assert not opened.direct


def test_where_the_kernel_does_not_say_the_alignment_is_the_safe_one(
    direct: OpenedFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "direct_alignments", lambda fd: None)
    with open_for_reading(path) as opened:
        assert (opened.direct, opened.alignment_bytes) == (True, 4096)


def test_an_empty_file_opens(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with open_for_reading(tmp_path / "empty") as opened:
        assert opened.size_bytes == 0


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing\.bin: No such file.*build the index again") as caught:
        open_for_reading(tmp_path / "missing.bin")
    assert caught.value.errno == errno.ENOENT
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(StorageError, match="not a regular file"):
            open_for_reading(tmp_path / name)


def test_closing_twice_does_not_close_the_next_file(path: Path) -> None:
    first = open_for_reading(path)
    first.close()
    with open_for_reading(path) as second:
        first.close()
        assert os.fstat(second.fd).st_size == FILE_BYTES
    assert first.fd == -1


@pytest.mark.parametrize("nbytes", [1, 100, 4096, 100_000])
def test_a_read_buffer_is_aligned_zeroed_and_writable(nbytes: int) -> None:
    with AlignedBuffer(nbytes) as buffer:
        assert buffer.address % 4096 == 0
        assert buffer.array.shape == (nbytes,)
        assert buffer.array.ctypes.data == buffer.address
        assert not buffer.array.any()
        buffer.array[:] = 7
        assert buffer.array[-1] == 7


def test_a_closed_buffer_is_refused_and_its_views_stay_sound() -> None:
    buffer = AlignedBuffer(8192)
    view = buffer.view(np.uint64)
    view[:] = 5
    buffer.close()
    buffer.close()
    assert (view == 5).all(), "the memory goes with its last view"
    with pytest.raises(IndexClosed):
        _ = buffer.array


def test_a_buffer_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="0 bytes"):
        AlignedBuffer(0)
