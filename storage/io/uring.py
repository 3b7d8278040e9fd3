"""The ``uring`` driver: batches through one io_uring for each calling thread, without the GIL."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import Self

import numpy as np

from pageann.errors import StorageError
from pageann.storage.io import fork
from pageann.storage.io.contract import Int32s, Int64s, closed_driver, require_batch
from pageann.storage.io.faults import NO_FAULTS, FaultTable
from pageann.storage.io.libc import error_name
from pageann.storage.io.ring import Ring
from pageann.storage.io.uring_batch import read_batch_through_ring

__all__ = ["Ring", "UringDriver"]


class _Desk:
    """A thread's ring, and the room that its completions are taken into."""

    __slots__ = ("__weakref__", "completions", "ring", "user_data")

    def __init__(self, entries: int, faults: FaultTable) -> None:
        self.ring = Ring(entries, faults)
        self.user_data = np.zeros(self.ring.entries, dtype=np.int64)
        self.completions = np.zeros(self.ring.entries, dtype=np.int32)


class UringDriver:
    """Reads batches with up to ``entries`` submissions at a time; see :mod:`pageann.storage.io.contract`.

    A ring belongs to one thread, so each thread that calls gets its own at its first call; it is
    closed with its thread or with the driver. The first is set up here, so that StorageError says at
    once where io_uring is not to be had.
    """

    name = "uring"

    def __init__(self, entries: int = 256, faults: FaultTable = NO_FAULTS) -> None:
        self._entries = entries
        self._faults = faults
        self._made_in = fork.generation()
        self._lock = threading.Lock()
        self._desks: weakref.WeakSet[_Desk] = weakref.WeakSet()
        self._of_thread = threading.local()
        self._closed = False
        self._desk()

    def _desk(self) -> _Desk:
        """The calling thread's ring."""
        desk: _Desk | None = getattr(self._of_thread, "desk", None)
        if desk is None:
            desk = _Desk(self._entries, self._faults)
            self._of_thread.desk = desk
            with self._lock:
                self._desks.add(desk)
        return desk

    def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        """Read all pieces and fill ``results``; returns when all have ended."""
        fork.require_same_process(self._made_in, "the uring driver")
        if self._closed:
            raise closed_driver(self.name)
        count = require_batch(fds, offsets, sizes, addresses, results)
        desk = self._desk()
        answer = read_batch_through_ring(
            desk.ring.state,
            fds,
            offsets,
            sizes,
            addresses,
            results,
            np.zeros((3, count), dtype=np.int32),
            np.zeros(3, dtype=np.int64),
            desk.user_data,
            desk.completions,
        )
        if answer < 0:
            del self._of_thread.desk  # the next call of this thread starts with a fresh ring
            desk.ring.close()
            raise StorageError(
                f"io_uring_enter: {error_name(-answer)}; try again, or use the threads driver", -answer
            )

    def close(self) -> None:
        """Close the rings of all threads; a second call does nothing."""
        self._closed = True
        with self._lock:
            desks = list(self._desks)
            self._desks.clear()
        for desk in desks:
            desk.ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
