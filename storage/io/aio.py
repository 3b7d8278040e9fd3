"""The ``aio`` driver: asyncio and aiofiles. Works everywhere, and is the clearest to read.

``aiofiles`` reads at the position of a buffered file; ``aiofiles.os.wrap`` makes a coroutine of the
positioned read of :mod:`pageann.storage.io.preadv` instead, which runs on a thread of a bounded pool
and puts the bytes where the caller wants them, also from a direct descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import aiofiles.os

from pageann.errors import InvalidArgument
from pageann.storage.io import fork
from pageann.storage.io.contract import Int32s, Int64s, closed_driver, require_batch
from pageann.storage.io.faults import NO_FAULTS, FaultTable
from pageann.storage.io.preadv import read_one

__all__ = ["AioDriver"]


class _Admission:
    """The reads of one batch: counts those in flight, and lets none start once it has ended."""

    def __init__(self, faults: FaultTable) -> None:
        self._faults = faults
        self._condition = threading.Condition()
        self._in_flight = 0
        self._ended = False

    def read(self, fd: int, offset: int, nbytes: int, address: int) -> int:
        """One read, on a thread of the pool."""
        with self._condition:
            if self._ended:
                return -errno.ECANCELED
            self._in_flight += 1
        try:
            return read_one(fd, offset, nbytes, address, self._faults)
        finally:
            with self._condition:
                self._in_flight -= 1
                self._condition.notify_all()

    def end(self) -> None:
        """Return once no read is in flight, and none will be."""
        with self._condition:
            self._ended = True
            self._condition.wait_for(lambda: self._in_flight == 0)


class AioDriver:
    """Awaits batches with ``parallel`` reads in flight; see :mod:`pageann.storage.io.contract`.

    Batches may be awaited from any number of coroutines and event loops; together they keep at most
    ``parallel`` reads in flight.
    """

    name = "aio"

    def __init__(self, parallel: int, faults: FaultTable = NO_FAULTS) -> None:
        if parallel < 1:
            raise InvalidArgument(f"parallel={parallel}: the aio driver needs at least 1")
        self._parallel = parallel
        self._faults = faults
        self._made_in = fork.generation()
        self._closed = False
        self._pool = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="pageann-aio")

    async def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        """Read all pieces and fill ``results``; returns when all have ended.

        A cancelled call starts no further read, and ends once those in flight have.
        """
        fork.require_same_process(self._made_in, "the aio driver")
        if self._closed:
            raise closed_driver(self.name)
        count = require_batch(fds, offsets, sizes, addresses, results)
        if count == 0:
            return
        reads = list(zip(fds.tolist(), offsets.tolist(), sizes.tolist(), addresses.tolist(), strict=True))
        order = iter(range(count))
        admission = _Admission(self._faults)
        read: Any = aiofiles.os.wrap(admission.read)

        async def read_next() -> None:
            for i in order:
                results[i] = await read(*reads[i], executor=self._pool)

        readers = {asyncio.create_task(read_next()) for _ in range(min(self._parallel, count))}
        try:
            # Unlike gather, wait leaves the readers running when this call is cancelled.
            await asyncio.wait(readers)
        except asyncio.CancelledError:
            for _ in order:
                pass
            await _outlast(readers)
            raise
        finally:
            # A loop that shuts down cancels the readers too, but not the threads they wait for.
            admission.end()
        for reader in readers:
            reader.result()

    def close(self) -> None:
        """End the threads; a second call does nothing."""
        if not self._closed:
            self._closed = True
            # The threads of a forked child's pool do not exist there.
            self._pool.shutdown(wait=self._made_in == fork.generation())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _outlast(readers: set[asyncio.Task[None]]) -> None:
    """Wait until all have ended, however often the waiting is cancelled."""
    while not all(reader.done() for reader in readers):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(readers)
