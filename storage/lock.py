"""One writer at a time: a lock file that is locked with flock and gone once the writer is done.

The kernel drops the lock of a process that dies, so a lock file that was left behind locks nobody out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from pageann.errors import IndexLocked, StorageError
from pageann.storage.files import storage_errors

__all__ = ["LOCK_NAME", "WriterLock"]

LOCK_NAME = "LOCK"
_ATTEMPTS = 100


class WriterLock:
    """The lock of one index folder, held from construction until :meth:`release`.

    Raises IndexLocked, with the process that holds it, at once instead of waiting.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        for _ in range(_ATTEMPTS):
            fd = self._try()
            if fd >= 0:
                self._fd = fd
                return
        raise StorageError(f"cannot lock {folder}: the lock file keeps changing; is another build starting?")

    def _try(self) -> int:
        """A locked descriptor, or -1 when the file was removed between opening and locking it."""
        with storage_errors("lock", self._path):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with storage_errors("lock", self._path):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise self._locked(fd) from None
                if not _is_same_file(fd, self._path):
                    os.close(fd)
                    return -1
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _locked(self, fd: int) -> IndexLocked:
        text = os.pread(fd, 32, 0).strip()
        pid = int(text) if text.isdigit() else 0
        who = f"process {pid}" if pid else "another process"
        return IndexLocked(f"{self._path.parent}: {who} is writing this index; wait for it or end it", pid)

    def release(self) -> None:
        """Remove the lock file and let others in; releasing twice is allowed."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):  # without its file the lock is still dropped below
            os.unlink(self._path)
        os.close(fd)


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        found, wanted = os.stat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
