"""Where arrays that stay in RAM come from: memory of this process, or memory that several share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.storage.files import storage_errors

__all__ = ["ALIGNMENT_BYTES", "ALONE", "Fill", "Holding", "Take", "file_key", "own_array"]

ALIGNMENT_BYTES = 64
"""Of the address of every array."""

Fill = Callable[[npt.NDArray[np.uint8]], None]
"""Writes the bytes of an array; raises where they cannot be had, or are not as they should be."""
Take = Callable[[str, int, Fill], npt.NDArray[np.uint8]]
"""(key, bytes, fill) -> uint8 (bytes,): equal keys stand for equal bytes."""


def file_key(path: Path, fd: int | None = None) -> str:
    """What stands for the content of a file, open or not, whatever way leads to it: it never changes.

    Raises StorageError.
    """
    with storage_errors("measure", path):
        found = os.stat(path if fd is None else fd)
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def own_array(key: str, nbytes: int, fill: Fill) -> npt.NDArray[np.uint8]:
    """An array in memory of this process, whatever its ``key``."""
    memory = np.empty(nbytes + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    data: npt.NDArray[Any] = memory[start : start + nbytes]
    fill(data)
    return data


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds the arrays of an open index."""

    processes: int
    """That hold one copy of each array; what is not an array of the index each has for itself."""
    take: Take


ALONE = Holding(1, own_array)
