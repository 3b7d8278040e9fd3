"""Keep a build within its memory: files that it maps are let go of when too much of them is resident.

The large arrays of a build are files in its scratch folder, mapped. What of them has been used counts
as memory of the process until the mapping lets go of it; the values stay in the file (and, while the
machine has memory to spare, in its page cache, from where they come back in microseconds).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.storage.files import storage_errors

__all__ = ["Pace", "Residency", "give_back_memory", "reserve_file"]

_STATM = "/proc/self/statm"
_DROP_SHARE = 0.85
"""Of the limit at which files are dropped: between two checks a thread may touch some 20 MiB."""
_RUNTIME_BYTES = 100 << 20
"""What kernels and libraries that a build loads take; they are no part of the budget."""
_LEAST_DROP_BYTES = 8 << 20
"""Less than this is not worth dropping."""
_ENDLESS_BYTES = 1 << 60
_FIRST_ROW_BYTES = 1 << 20
"""What a row is thought to touch before any has been seen."""
_LEAST_RUN_BYTES = 4 << 20
_RUNS_OF_ROOM = 8
"""So many runs may go on at the same time before the room is used up."""
_MEMORY_OF_PACE = 0.8
"""How slowly what a row touches is forgotten."""


class Residency:
    """Maps files, and drops what is resident of them when the process has grown beyond ``limit_bytes``.

    Growth is counted from construction. Where the system does not say how large a process is, nothing
    is dropped: the kernel then takes the pages back when it needs them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._mappings: list[weakref.ref[mmap.mmap]] = []
        self._statm = _Statm()
        resident_bytes, file_bytes = self._statm.resident_bytes()
        self._most_bytes = resident_bytes + _RUNTIME_BYTES + int(_DROP_SHARE * limit_bytes)
        self._most_file_bytes = file_bytes + _LEAST_DROP_BYTES
        self._works = resident_bytes > 0 and hasattr(mmap, "MADV_DONTNEED")
        self.drops = 0
        """How often mappings were dropped."""

    def map(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The file ``path`` as an array; what is written to it is written to the file."""
        if 0 in shape:
            return np.empty(shape, dtype)
        with storage_errors("map", path):
            array = np.memmap(path, dtype=dtype, mode="r+", shape=shape)
        self.watch(array)
        return np.asarray(array)

    def create(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A new file of zeros, mapped; StorageError where the disk has no room for it."""
        reserve_file(path, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        return self.map(path, dtype, shape)

    def watch(self, array: npt.NDArray[Any]) -> None:
        """Drop the mapping behind a memmap too; arrays that are none are left alone."""
        mapping = getattr(array, "_mmap", None)
        # a private mapping that was written to would lose its changes
        if mapping is not None and getattr(array, "mode", "") in ("r", "r+", "w+"):
            self._mappings.append(weakref.ref(mapping))

    def check(self) -> None:
        """Drop all mappings if the process has grown too large; call it between pieces of work."""
        self.room_bytes()

    def room_bytes(self) -> tuple[int, int]:
        """(by how much the process may grow before mappings are dropped, what is mapped); drops if needed."""
        if not self._works:
            return _ENDLESS_BYTES, 0
        resident_bytes, file_bytes = self._statm.resident_bytes()
        if resident_bytes > self._most_bytes and file_bytes > self._most_file_bytes:
            self.drop()
            resident_bytes, file_bytes = self._statm.resident_bytes()
        return max(0, self._most_bytes - resident_bytes), file_bytes

    def make_room(self, size_bytes: int) -> None:
        """Drop all mappings if the process is about to grow too large by memory of its own."""
        if self.room_bytes()[0] < size_bytes:
            self.drop()

    def drop(self) -> None:
        """Let go of all that is resident of the mapped files."""
        self.drops += 1
        for reference in self._mappings:
            mapping = reference()
            if mapping is not None:
                with contextlib.suppress(ValueError):  # closed meanwhile
                    mapping.madvise(mmap.MADV_DONTNEED)


class Pace:
    """Cuts work on mapped files into runs short enough that what one touches fits the room that is left.

    How much a row touches depends on the data, for neighbours may lie anywhere, and on the kernel, which maps
    64 KiB around each place or, since Linux 6.18, up to 2 MiB. So it is measured, run by run. Shared by
    threads; which runs there are must not matter to what is computed.
    """

    def __init__(self, residency: Residency | None, most: int) -> None:
        self._residency = residency
        self._most = most
        self._row_bytes = float(_FIRST_ROW_BYTES)

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """``[first, last)`` in runs of at most ``most``; mappings are dropped between them when they must."""
        if self._residency is None:
            yield from ((low, min(low + self._most, last)) for low in range(first, last, self._most))
            return
        room, before = self._residency.room_bytes()
        while first < last:
            allowed = max(_LEAST_RUN_BYTES, room // _RUNS_OF_ROOM)
            end = min(first + min(self._most, max(1, int(allowed / self._row_bytes))), last)
            yield first, end
            room, after = self._residency.room_bytes()
            touched = max(0, after - before) / (end - first)
            self._row_bytes = max(1.0, touched, _MEMORY_OF_PACE * self._row_bytes)
            first, before = end, after


def reserve_file(path: Path, size_bytes: int) -> None:
    """A new file of zeros that has its place on the disk: writing to a mapping must not find that full.

    The process would get a signal that it does not survive, instead of an error. Raises StorageError.
    """
    with storage_errors("create", path), path.open("wb") as file:
        if size_bytes:
            os.posix_fallocate(file.fileno(), 0, size_bytes)


def give_back_memory() -> None:
    """Return what the allocator keeps for later to the system, where it can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Statm:
    """What the system says of the memory of this process, in a file that stays open: looks are many."""

    def __init__(self) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)

    def resident_bytes(self) -> tuple[int, int]:
        """Resident set, and its part that belongs to files; 0 where the system does not say."""
        try:
            fields = os.pread(self._fd, 256, 0).split()
            return int(fields[1]) * mmap.PAGESIZE, int(fields[2]) * mmap.PAGESIZE
        except (OSError, ValueError, IndexError):
            return 0, 0

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
