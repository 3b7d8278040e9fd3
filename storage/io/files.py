"""Open files for reading pieces of them, past the page cache where the file system allows it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from pageann.errors import StorageError
from pageann.storage.io.buffers import AlignedBuffer
from pageann.storage.io.libc import direct_alignments, is_memory_file_system

__all__ = ["AlignedBuffer", "OpenedFile", "open_for_reading"]

_ALIGNMENT_BYTES_UNKNOWN = 4096
"""No device in use has larger blocks, so this is right where the kernel does not say."""

_REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP)
"""How file systems say that they have no direct reads: at open, or only at the first read."""

_REMEDIES = {
    errno.ENOENT: "restore the file, or build the index again",
    errno.EACCES: "make it readable for this user",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files (fs.file-max)",
    errno.EIO: "check the disk and its cable or volume",
}


@dataclass(slots=True)
class OpenedFile:
    """A file open for reading; closes its descriptor once, at :meth:`close` or the end of ``with``."""

    fd: int
    """The descriptor; -1 once closed."""
    size_bytes: int
    """Length of the file when it was opened."""
    direct: bool
    """Whether reads go to the device (O_DIRECT); False: through the page cache, or there is no device."""
    alignment_bytes: int
    """Power of two that must divide offset, size and address of every read; 1 when not direct."""

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> OpenedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_for_reading(path: str | os.PathLike[str], *, direct: bool = True) -> OpenedFile:
    """Open a regular file, with O_DIRECT if ``direct`` is wished and the file system has it.

    Files in memory (tmpfs) are opened buffered: they accept O_DIRECT, but no device is read.
    Raises StorageError, which names the file, when it cannot be opened.
    """
    try:
        _require_regular(path)
        if direct and (opened := _open_direct(path)) is not None:
            return opened
        return _open_buffered(path)
    except StorageError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check the path and the file system")
        raise StorageError(f"cannot open {path}: {error.strerror}; {remedy}", error.errno or 0) from error


def _require_regular(path: str | os.PathLike[str]) -> None:
    # Before open(), which would wait for a writer if this were a pipe.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise StorageError(f"cannot open {path}: not a regular file; give the path of one", errno.EINVAL)


def _open_buffered(path: str | os.PathLike[str]) -> OpenedFile:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with _closed_on_error(fd):
        if hasattr(os, "posix_fadvise"):
            # Reads are scattered: read-ahead would fetch megabytes for each page. No more than advice.
            with contextlib.suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return OpenedFile(fd, os.fstat(fd).st_size, False, 1)


@contextlib.contextmanager
def _closed_on_error(fd: int) -> Iterator[None]:
    """Close the descriptor unless what is done with it succeeds."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _open_direct(path: str | os.PathLike[str]) -> OpenedFile | None:
    """The file open with O_DIRECT, or None where that is refused."""
    flag = getattr(os, "O_DIRECT", 0)
    if flag == 0:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flag)
    except OSError as error:
        if error.errno in _REFUSALS:
            return None
        raise
    with _closed_on_error(fd):
        alignment_bytes = _alignment_bytes(fd)
        if alignment_bytes and not is_memory_file_system(fd) and _reads_directly(fd, alignment_bytes):
            return OpenedFile(fd, os.fstat(fd).st_size, True, alignment_bytes)
    os.close(fd)
    return None


def _alignment_bytes(fd: int) -> int:
    """What must divide offset, size and address of a direct read; 0 if there are no direct reads."""
    alignments = direct_alignments(fd)
    return _ALIGNMENT_BYTES_UNKNOWN if alignments is None else max(alignments)


def _reads_directly(fd: int, alignment_bytes: int) -> bool:
    """Whether a first direct read is accepted; any other trouble is left to the reader to meet."""
    with AlignedBuffer(alignment_bytes) as buffer:
        try:
            os.preadv(fd, [buffer.array.data], 0)
        except OSError as error:
            return error.errno not in _REFUSALS
    return True
