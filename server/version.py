"""One open version of an index, and how many calls use it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import pageann
from pageann.errors import StorageError

__all__ = ["OpenOptions", "OpenVersion", "open_version", "published"]

CURRENT_NAME = "CURRENT"
"""The file of an index that names its version; builds replace it as their last step."""
_ATTEMPTS = 10

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How an index is opened."""

    path: Path
    memory: str | int | None
    io: str
    threads: int | None
    shared: str | None = None
    """Address of what holds its arrays for several processes."""


def published(path: Path) -> Signature | None:
    """What changes when a build publishes: cheap enough to ask each second. None where nothing is."""
    try:
        found = os.stat(path / CURRENT_NAME)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class OpenVersion:
    """An open index that is closed when it is retired and the last call has let go of it."""

    def __init__(self, index: pageann.Index, name: str, signature: Signature | None) -> None:
        self.index = index
        self.name = name
        """Another text for every build."""
        self.signature = signature
        self.users = 0
        """Calls that use it; these come and go in the event loop."""
        self.description = index.describe()
        self._retired = False
        self._drained = asyncio.Event()

    def let_go(self) -> None:
        """A call is done with it."""
        self.users -= 1
        if self._retired and self.users == 0:
            self._drained.set()

    async def drain(self) -> None:
        """Wait for the calls that use it; there must come no more."""
        self._retired = True
        if self.users:
            await self._drained.wait()


def _pointer(path: Path) -> tuple[str, Signature | None]:
    """(version and checksum that CURRENT names, its signature)."""
    signature = published(path)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name, _, checksum = (path / CURRENT_NAME).read_text(encoding="ascii").strip().partition(" ")
        return f"{name.removeprefix('manifest-').removesuffix('.json')}-{checksum}", signature
    return "", signature


def open_version(options: OpenOptions, memory: str | int | None) -> OpenVersion:
    """Open what is published now within ``memory``. Blocks; raises what ``pageann.open`` raises."""
    for _ in range(_ATTEMPTS):
        before = _pointer(options.path)
        index = pageann.open(
            options.path, memory=memory, io=options.io, threads=options.threads, shared=options.shared
        )
        if _pointer(options.path)[0] == before[0]:
            return OpenVersion(index, *before)
        index.close()
    raise StorageError(f"{options.path}: the index is replaced faster than it can be opened; try again")
