"""One line of JSON a call: who asked what of which index, how it ended, how long it took.

Vectors, ids, keys and messages of errors never stand in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import IO

from pageann.errors import InvalidArgument

__all__ = ["AccessLog", "Entry"]


@dataclass(slots=True)
class Entry:
    """What is known of one call; filled in as it goes on."""

    request_id: str
    method: str
    caller: str = ""
    index: str = ""
    queries: int = 0
    k: int = 0
    quality: str = ""
    """``recall 0.95``, ``effort 40``, ``exact``; with ``radius`` behind it for a range search."""
    reads: int = 0
    status: str = ""
    reason: str = ""
    """The code of the error."""
    duration_us: int = 0


class AccessLog:
    """Appends to ``path`` (``-``: stdout). Lines that cannot be written, as on a full disk, are counted.

    Lines are kept back until :meth:`refresh`, which also opens the file anew where it was moved away.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._closed = False
        self.lost = 0
        """Lines that could not be written."""
        try:
            self._file = self._open()
        except OSError as error:
            raise InvalidArgument(
                f"access_log={path!r}: cannot be written: {error.strerror}; choose another file"
            ) from None

    def _open(self) -> IO[str]:
        if self._path == "-":
            return sys.stdout
        return open(self._path, "a", encoding="utf-8", buffering=1 << 16)

    def write(self, entry: Entry) -> None:
        """Add a line; none after :meth:`close`."""
        if self._closed:
            return
        line = {
            "time": time.time(),
            **{name: getattr(entry, name) for name in Entry.__slots__ if getattr(entry, name)},
        }
        try:
            self._file.write(json.dumps(line) + "\n")
        except OSError:
            self.lost += 1

    def refresh(self) -> None:
        """Have what was written so far stand in the file, which is created again if it is not there."""
        try:
            self._file.flush()
            if self._path != "-" and self._was_moved():
                fresh = self._open()
                self._file.close()
                self._file = fresh
        except OSError:
            self.lost += 1

    def _was_moved(self) -> bool:
        ours = os.fstat(self._file.fileno())
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Write what is left."""
        self.refresh()
        self._closed = True
        if self._path != "-":
            try:
                self._file.close()
            except OSError:
                self.lost += 1
