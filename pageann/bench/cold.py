"""A cold start: files that the page cache does not hold."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["forget_files"]


def forget_files(path: Path) -> int:
    """Ask the system to drop ``path``, or every file below it, from the page cache; returns the files.

    Nobody needs to be root for it. Pages that another process has mapped stay; pages that were written
    but are not on disk yet are written first. Does nothing where the system has no posix_fadvise.
    """
    if not hasattr(os, "posix_fadvise"):
        return 0
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return len(files)
