"""Batches of reads for the tests of drivers, and one face for drivers that block or are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pageann.storage.io.aio import AioDriver
from pageann.storage.io.contract import Int32s, Int64s
from pageann.storage.io.faults import NO_FAULTS, FaultTable
from pageann.storage.io.files import AlignedBuffer
from pageann.storage.io.threads import ThreadsDriver
from pageann.storage.io.uring import UringDriver

DRIVER_NAMES = ("uring", "threads", "aio")

UNREAD = -9999
"""What stands in the results of a batch before it is read."""

_SLOT_ALIGNMENT_BYTES = 4096

Driver = UringDriver | ThreadsDriver | AioDriver
MakeDriver = Callable[..., Driver]


def make_driver(name: str, depth: int = 8, faults: FaultTable = NO_FAULTS) -> Driver:
    """The driver called ``name``, with about ``depth`` reads in flight."""
    if name == "uring":
        return UringDriver(depth, faults)
    return ThreadsDriver(depth, faults) if name == "threads" else AioDriver(depth, faults)


@dataclass(frozen=True, slots=True)
class Batch:
    """Reads, the memory they land in, and where their results go."""

    fds: Int32s
    offsets: Int64s
    sizes: Int32s
    addresses: Int64s
    results: Int32s
    buffer: AlignedBuffer

    def bytes_of(self, i: int) -> bytes:
        """What read ``i`` brought."""
        start = int(self.addresses[i]) - self.buffer.address
        return self.buffer.array[start : start + max(0, int(self.results[i]))].tobytes()


def batch_of(reads: Sequence[tuple[int, int, int]]) -> Batch:
    """A batch of (descriptor, offset, size), each landing on aligned memory of its own."""
    slots = [-(-max(size, 1) // _SLOT_ALIGNMENT_BYTES) * _SLOT_ALIGNMENT_BYTES for _, _, size in reads]
    buffer = AlignedBuffer(max(1, sum(slots)))
    starts = np.cumsum([0, *slots], dtype=np.int64)[:-1]
    return Batch(
        np.array([fd for fd, _, _ in reads], dtype=np.int32),
        np.array([offset for _, offset, _ in reads], dtype=np.int64),
        np.array([size for _, _, size in reads], dtype=np.int32),
        starts + buffer.address,
        np.full(len(reads), UNREAD, dtype=np.int32),
        buffer,
    )


def read(driver: Driver, batch: Batch) -> list[int]:
    """Run a batch to its end; the results."""
    arguments = (batch.fds, batch.offsets, batch.sizes, batch.addresses, batch.results)
    if isinstance(driver, AioDriver):
        asyncio.run(driver.read_batch(*arguments))
    else:
        driver.read_batch(*arguments)
    return [int(result) for result in batch.results]
