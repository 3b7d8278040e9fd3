"""A disk that fills up, or refuses any one operation, must cost the build and nothing else.

Each operation of a build is made to fail in turn. The build must raise a StorageError, or succeed where
only tidying up was refused; the version from before must still be there, byte for byte and with
nothing beside it, or the new one must be whole.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pageann.errors import IndexNotFound, StorageError
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import OsFiles, storage_errors
from pageann.storage.verify import verify
from tests.reference.crash_disk import read_tree
from tests.reference.crash_files import RecordingFiles
from tests.reference.sample_index import build_sample, write_sample_files


def build_failing_at(path: Path, operation: int) -> tuple[RecordingFiles, bool]:
    """Build version 2 at ``path``; the file layer, and whether the build raised."""
    files = RecordingFiles(path.parent, fail_at=operation)
    try:
        build_sample(path, 2, files)
    except StorageError as error:
        return files, error.errno == errno.ENOSPC
    return files, False


@pytest.mark.parametrize("existing", [False, True])
def test_each_operation_may_fail(tmp_path: Path, existing: bool) -> None:
    outcomes = []
    for operation in range(1000):
        disk = tmp_path / f"{operation}"
        disk.mkdir()
        if existing:
            build_sample(disk / "index", 1, RecordingFiles(disk))
        before = read_tree(disk)
        files, raised = build_failing_at(disk / "index", operation)
        if not files.has_failed:
            break
        outcomes.append(raised)
        if read_tree(disk) == before:
            assert raised
            continue
        current = IndexDirectory(disk / "index").current()
        assert current.options == {"seed": 2}, f"operation {operation} left something else than an index"
        assert verify(disk / "index") == []
    assert len(outcomes) > 30
    assert outcomes.count(False) < 8, "only the removal of the old version may fail silently"


def give_up_building(path: Path) -> None:
    """A build that has written files when something else goes wrong."""
    with IndexDirectory(path).writer() as writer:
        write_sample_files(OsFiles(), writer.segment_path, 1)
        (writer.scratch_path / "neighbours").write_bytes(b"x")
        raise ZeroDivisionError


def test_a_build_that_is_given_up_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        give_up_building(tmp_path / "a" / "b" / "index")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with IndexDirectory(tmp_path / "empty").writer():
        pass
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(IndexNotFound):
        IndexDirectory(tmp_path / "empty").current()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "device"),
        (errno.EBUSY, "busy"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(number: int, remedy: str) -> None:
    with (
        pytest.raises(StorageError, match=remedy) as caught,
        storage_errors("write", Path("photos/pages.bin")),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert "photos/pages.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where the tests run as root no mode forbids anything; a file in place of the parent does."""
    (tmp_path / "file").write_text("text")
    with pytest.raises(StorageError, match="file"):
        build_sample(tmp_path / "file" / "index")
    if os.geteuid() != 0:
        (tmp_path / "sealed").mkdir()
        (tmp_path / "sealed").chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(StorageError, match="permission"):
            build_sample(tmp_path / "sealed" / "index")


def test_a_real_full_device_is_told_from_a_success(tmp_path: Path) -> None:
    file = OsFiles().create(Path("/dev/full"))
    with pytest.raises(StorageError, match="disk is full"):
        file.write(b"x")
    file.close()
    file.close()
