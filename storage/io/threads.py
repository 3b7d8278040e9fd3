"""The ``threads`` driver: ``preadv`` in a bounded pool. Works everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from pageann.errors import InvalidArgument
from pageann.storage.io import fork
from pageann.storage.io.contract import Int32s, Int64s, closed_driver, require_batch
from pageann.storage.io.faults import NO_FAULTS, FaultTable
from pageann.storage.io.preadv import read_one

__all__ = ["ThreadsDriver"]


class ThreadsDriver:
    """Reads batches with ``threads`` reads in flight a call; see :mod:`pageann.storage.io.contract`.

    The calling thread reads as well, beside ``threads - 1`` of the pool: a batch of one read, the
    most frequent, needs no hand-over.
    """

    name = "threads"

    def __init__(self, threads: int, faults: FaultTable = NO_FAULTS) -> None:
        if threads < 1:
            raise InvalidArgument(f"threads={threads}: the threads driver needs at least 1")
        self._helpers = threads - 1
        self._faults = faults
        self._made_in = fork.generation()
        self._closed = False
        # Threads are started by the pool when first needed, and joined before the interpreter exits.
        self._pool = ThreadPoolExecutor(max_workers=max(1, self._helpers), thread_name_prefix="pageann-read")

    def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        """Read all pieces and fill ``results``; returns when all have ended."""
        fork.require_same_process(self._made_in, "the threads driver")
        if self._closed:
            raise closed_driver(self.name)
        count = require_batch(fds, offsets, sizes, addresses, results)
        reads = list(zip(fds.tolist(), offsets.tolist(), sizes.tolist(), addresses.tolist(), strict=True))
        outcomes = [0] * count
        # One iterator for all threads: taking the next number is atomic, and no thread is left idle.
        order = iter(range(count))
        helpers = [
            self._pool.submit(self._read_next, order, reads, outcomes)
            for _ in range(min(self._helpers, count - 1))
        ]
        try:
            self._read_next(order, reads, outcomes)
        finally:
            for _ in order:
                pass  # after an interruption no further read may start
            wait(helpers)
        for helper in helpers:
            helper.result()
        results[:] = outcomes

    def _read_next(
        self, order: Iterator[int], reads: list[tuple[int, int, int, int]], outcomes: list[int]
    ) -> None:
        for i in order:
            fd, offset, nbytes, address = reads[i]
            outcomes[i] = read_one(fd, offset, nbytes, address, self._faults)

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
