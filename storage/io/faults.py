"""Faults on demand: the table that each driver consults before a read, empty in production.

With it a test makes a chosen read fail, end early or take long, in any driver and inside compiled
search loops as well, without a broken disk. A driver given no table pays one comparison a read.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument

__all__ = ["NO_FAULTS", "Fault", "FaultKind", "FaultTable", "find_fault"]

# Columns of a row of the table.
FAULT_FD = 0
FAULT_OFFSET = 1
FAULT_SKIP = 2
FAULT_TIMES = 3
FAULT_KIND = 4
FAULT_VALUE = 5
FAULT_SECONDS = 6
"""Start of a C timespec (seconds, nanoseconds) that holds the delay of the row."""
FAULT_COLUMNS = 8


class FaultKind(enum.IntEnum):
    """What happens to a read."""

    ERROR = 0
    """It is not made and fails with error number ``value``."""
    SHORT = 1
    """It asks for at most ``value`` bytes; drivers then continue it, as after any short read."""
    DELAY = 2
    """It starts ``value`` microseconds late."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and the reads that it befalls. Continuations and retries count as reads here."""

    kind: FaultKind
    value: int
    offset: int = -1
    """Only reads that start at this byte of the file; -1: at any."""
    fd: int = -1
    """Only reads of this descriptor; -1: of any."""
    skip: int = 0
    """How many such reads pass unharmed first, in the order in which they are started."""
    times: int = 1
    """How many such reads it befalls after that; -1: all."""


class FaultTable:
    """Faults for one driver or ring; counts down as they befall, so do not share it between drivers.

    ``rows`` (int64, one row a fault) is what drivers read; the first row that matches counts.
    """

    __slots__ = ("rows",)

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.rows: npt.NDArray[np.int64] = np.zeros((len(faults), FAULT_COLUMNS), dtype=np.int64)
        for row, fault in zip(self.rows, faults, strict=True):
            if fault.value < 0 or fault.skip < 0:
                raise InvalidArgument(f"{fault}: value and skip must not be negative")
            row[FAULT_FD] = fault.fd
            row[FAULT_OFFSET] = fault.offset
            row[FAULT_SKIP] = fault.skip
            row[FAULT_TIMES] = fault.times
            row[FAULT_KIND] = fault.kind
            row[FAULT_VALUE] = fault.value
            if fault.kind == FaultKind.DELAY:
                row[FAULT_SECONDS] = fault.value // 1_000_000
                row[FAULT_SECONDS + 1] = fault.value % 1_000_000 * 1000

    def __len__(self) -> int:
        return len(self.rows)


NO_FAULTS = FaultTable()
"""The table of production."""


def find_fault(rows: npt.NDArray[np.int64], fd: int, offset: int) -> int:
    """The row that befalls a read about to start, -1 if none; counts down skips and times.

    Compiled as it stands for the ring; called as it stands by the other drivers, under a lock.
    """
    for i in range(rows.shape[0]):
        if rows[i, FAULT_FD] not in (-1, fd) or rows[i, FAULT_OFFSET] not in (-1, offset):
            continue
        if rows[i, FAULT_TIMES] == 0:
            continue
        if rows[i, FAULT_SKIP] > 0:
            rows[i, FAULT_SKIP] -= 1
            continue
        if rows[i, FAULT_TIMES] > 0:
            rows[i, FAULT_TIMES] -= 1
        return i
    return -1
