"""The file layer: all that a builder does to a disk, behind one small contract.

Builders write through :class:`Files`, so that a test can put a disk of its own underneath, one that
loses, tears and reorders what was not yet synced. The contract is that of a POSIX file system at
its worst: what was written is certain to survive a crash only after ``sync`` of that file, and a
name only after ``sync_directory`` of the folder that holds it. Reading of page files in a search
does not pass here; that is ``storage/io``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from pageann.errors import PageANNError, StorageError

__all__ = ["Buffer", "Files", "OsFiles", "WritableFile", "flat_view", "storage_errors"]

Buffer = bytes | bytearray | memoryview | NDArray[Any]
"""What can be written: C-contiguous bytes of any shape and type."""

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or build on another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or build on another disk",
    errno.EROFS: "the file system is read-only; choose a folder that can be written",
    errno.EACCES: "permission denied; check the owner and mode of the folder",
    errno.EPERM: "not permitted; check the owner and attributes of the folder",
    errno.ENOENT: "no such file or folder; check the path",
    errno.ENOTDIR: "a part of the path is not a folder; check the path",
    errno.EIO: "the device reports an I/O error; check its health and use another disk",
    errno.EMFILE: "too many open files in this process; raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine; close some",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter path",
    errno.EFBIG: "the file would be too large for this file system; build on another one",
}


def flat_view(data: Buffer) -> memoryview:
    """The bytes of ``data`` in one dimension; ValueError or TypeError unless it is C-contiguous."""
    view = memoryview(cast(Any, data))
    return view.cast("B") if view.nbytes else memoryview(b"")


@contextlib.contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the operating system into a StorageError that says what to do."""
    try:
        yield
    except PageANNError:
        raise
    except OSError as error:
        number = error.errno or 0
        reason = _REMEDIES.get(number, error.strerror or str(error))
        raise StorageError(f"cannot {doing} {path}: {reason}", number) from error


class WritableFile(Protocol):
    """A file that is being written; closing it does not sync it."""

    def write(self, data: Buffer) -> None:
        """Append all of ``data`` after what earlier calls of ``write`` wrote."""

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all of ``data`` at ``offset`` (bytes), and leave the place of ``write`` alone."""

    def seek(self, offset: int) -> None:
        """Let the next ``write`` go to ``offset`` (bytes)."""

    def sync(self) -> None:
        """Return when all that was written would survive a loss of power."""

    def close(self) -> None:
        """Release the file; closing twice is allowed."""


class Files(Protocol):
    """What builders do to a file system. Every method raises StorageError when it cannot."""

    def create(self, path: Path) -> WritableFile:
        """Open ``path`` for writing, new or emptied."""

    def sync_file(self, path: Path) -> None:
        """Sync the content of a file that is closed."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in a folder survive a loss of power."""

    def rename(self, old: Path, new: Path) -> None:
        """Give ``old`` the name ``new`` in the same folder, replacing a file there in one step."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def make_directory(self, path: Path) -> None:
        """Make a folder whose parent exists; it must not exist itself."""

    def remove_directory(self, path: Path) -> None:
        """Remove an empty folder."""

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all in it."""

    def names(self, path: Path) -> list[str]:
        """The names in a folder, sorted."""

    def is_directory(self, path: Path) -> bool:
        """Whether there is a folder at ``path``."""

    def exists(self, path: Path) -> bool:
        """Whether there is anything at ``path``."""

    def size_bytes(self, path: Path) -> int:
        """The length of a file."""

    def read(self, path: Path) -> bytes:
        """All bytes of a small file."""


class _OsFile:
    """A real file behind :class:`WritableFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        with storage_errors("create", path):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def write(self, data: Buffer) -> None:
        view = flat_view(data)
        self.pwrite(view, self._position)
        self._position += view.nbytes

    def pwrite(self, data: Buffer, offset: int) -> None:
        left = flat_view(data)
        with storage_errors("write", self._path):
            while left.nbytes:
                written = os.pwrite(self._fd, left, offset)
                left = left[written:]
                offset += written

    def seek(self, offset: int) -> None:
        self._position = offset

    def sync(self) -> None:
        with storage_errors("sync", self._path):
            os.fsync(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with storage_errors("close", self._path):
                os.close(fd)


class OsFiles:
    """The file layer of the operating system."""

    def create(self, path: Path) -> WritableFile:
        return _OsFile(path)

    def sync_file(self, path: Path) -> None:
        with storage_errors("sync", path), _descriptor(path, os.O_RDONLY) as fd:
            os.fsync(fd)

    def sync_directory(self, path: Path) -> None:
        with storage_errors("sync", path), _descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            try:
                os.fsync(fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some network file systems have no sync of folders
                    raise

    def rename(self, old: Path, new: Path) -> None:
        with storage_errors(f"rename to {new.name} the file", old):
            os.replace(old, new)

    def unlink(self, path: Path) -> None:
        with storage_errors("remove", path):
            os.unlink(path)

    def make_directory(self, path: Path) -> None:
        with storage_errors("make the folder", path):
            os.mkdir(path)

    def remove_directory(self, path: Path) -> None:
        with storage_errors("remove the folder", path):
            os.rmdir(path)

    def remove_tree(self, path: Path) -> None:
        with storage_errors("remove the folder", path):
            shutil.rmtree(path)

    def names(self, path: Path) -> list[str]:
        with storage_errors("list", path):
            return sorted(os.listdir(path))

    def is_directory(self, path: Path) -> bool:
        with storage_errors("look at", path):
            return path.is_dir()

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def size_bytes(self, path: Path) -> int:
        with storage_errors("measure", path):
            return os.stat(path).st_size

    def read(self, path: Path) -> bytes:
        with storage_errors("read", path):
            return path.read_bytes()


@contextlib.contextmanager
def _descriptor(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
