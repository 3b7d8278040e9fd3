"""One line of JSON a call: who asked what of which index, how it ended, how long it took.

Vectors, ids, keys and messages of errors never stand in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass

from pageann.errors import InvalidArgument

__all__ = ["AccessLog", "Entry"]

_HELD_CHARACTERS = 1 << 16
"""Lines of so many characters are written without waiting for the next look."""
_PLAIN = ("request_id", "method", "caller", "index", "queries", "k", "quality", "reads", "status", "reason",
          "duration_us")  # fmt: skip


@dataclass(slots=True)
class Entry:
    """What is known of one call; filled in as it goes on."""

    method: str
    request_id: str = ""
    """Given where somebody is told of it: a line of the log, a span, a failure."""
    caller: str = ""
    index: str = ""
    queries: int = 0
    k: int = 0
    recall: float | None = None
    effort: int | None = None
    exact: bool = False
    ranged: bool = False
    reads: int = 0
    status: str = ""
    reason: str = ""
    """The code of the error."""
    duration_us: int = 0

    @property
    def quality(self) -> str:
        """``recall 0.95``, ``effort 40``, ``exact``; with ``radius`` behind it for a range search."""
        if self.exact:
            how = "exact"
        elif self.effort is not None:
            how = f"effort {self.effort}"
        elif self.recall is not None:
            how = f"recall {self.recall:g}"
        else:
            return ""
        return f"{how} radius" if self.ranged else how


class AccessLog:
    """Appends to ``path`` (``-``: stdout). Lines that cannot be written, as on a full disk, are counted.

    Lines are kept back until :meth:`refresh`, which also opens the file anew where it was moved away.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._closed = False
        self._lines: list[str] = []
        self._characters = 0
        self._torn = False
        """The file ends within a line."""
        self.lost = 0
        """Lines that could not be written."""
        try:
            self._file = self._open()
        except OSError as error:
            raise InvalidArgument(
                f"access_log={path!r}: cannot be written: {error.strerror}; choose another file"
            ) from None

    def _open(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, entry: Entry) -> None:
        """Add a line; none after :meth:`close`."""
        if self._closed:
            return
        line: dict[str, object] = {"time": time.time()}
        for name in _PLAIN:
            if value := getattr(entry, name):
                line[name] = value
        text = json.dumps(line) + "\n"
        self._lines.append(text)
        self._characters += len(text)
        if self._characters >= _HELD_CHARACTERS:
            self._write_out()

    def _write_out(self) -> None:
        """Write the lines that were kept back; what cannot be written is lost, and counted."""
        lines, self._lines, self._characters = self._lines, [], 0
        if not lines:
            return
        left = (b"\n" if self._torn else b"") + "".join(lines).encode("ascii")
        try:
            while left:
                written = os.write(self._file, left)
                self._torn = left[written - 1 : written] != b"\n"
                left = left[written:]
        except OSError:
            self.lost += len(left.splitlines()) if left.strip() else 0

    def refresh(self) -> None:
        """Have what was written so far stand in the file, which is created again if it is not there."""
        self._write_out()
        if self._path == "-" or not self._was_moved():
            return
        try:
            fresh = self._open()
        except OSError:
            return  # lines go where the file was moved to until there can be a new one
        os.close(self._file)
        self._file = fresh

    def _was_moved(self) -> bool:
        ours = os.fstat(self._file)
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Write what is left."""
        if self._closed:
            return
        self.refresh()
        self._closed = True
        if self._path != "-":
            os.close(self._file)
