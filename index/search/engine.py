"""The engine: queries over an open segment, by any driver, from any number of threads and coroutines."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument
from pageann.index.kernels.state import Resident
from pageann.index.search.answers import Answers
from pageann.index.search.calls import Call, closed_engine
from pageann.index.search.crew import ThreadCrew
from pageann.index.search.desks import BatchDesk, RingDesk
from pageann.index.search.engine_faults import raise_fault
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.load import LoadedSegment
from pageann.index.search.turns import Turns
from pageann.storage.io import fork
from pageann.storage.io.faults import Fault, FaultTable
from pageann.storage.io.threads import ThreadsDriver

__all__ = ["Answers", "CallOptions", "Engine"]

_READS_IN_FLIGHT = 8
"""Of the drivers that read on threads: more of them only contend for the interpreter."""
_NO_ROW = np.full(1, -1, np.int64)


class _Crew(Protocol):
    """What answers the calls of an engine."""

    workers: int

    def run(self, call: Call) -> None: ...

    async def arun(self, call: Call) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


def _make_crew(
    resident: Resident, driver: str, workers: int, slots: int, faults: Sequence[Fault], scratch_bytes: int
) -> _Crew:
    scratch = scratch_bytes // min(workers, slots)
    turns = Turns()
    if driver == "uring":
        return ThreadCrew(lambda share: RingDesk(resident, share, faults, scratch, turns), workers, slots)
    if driver == "threads":
        reader = ThreadsDriver(_READS_IN_FLIGHT, FaultTable(faults))
        return ThreadCrew(
            lambda share: BatchDesk(resident, share, reader, scratch, turns), workers, slots, reader
        )
    if driver == "aio":
        from pageann.index.search.aio_crew import AioCrew
        from pageann.storage.io.aio import AioDriver

        return AioCrew(resident, AioDriver(_READS_IN_FLIGHT, FaultTable(faults)), slots, scratch_bytes)
    raise InvalidArgument(f"driver={driver!r}: choose uring, threads or aio")


def _no_rows(queries: int) -> npt.NDArray[np.int64]:
    """Nothing to leave out; kernels only read it, so that all calls of one query share theirs."""
    return _NO_ROW if queries == 1 else np.full(queries, -1, np.int64)


def _for_kernels(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """``array`` as kernels take it: they are compiled once, for arrays that can be written to."""
    if array.dtype == dtype and array.flags.carray:
        return array
    return np.require(array, dtype, ["C", "A", "W"])


class Engine:
    """Answers queries over ``segment``, which its owner closes after the engine.

    ``driver`` is ``uring``, ``threads`` or ``aio``. At most ``slots`` queries are in flight, shared
    out among at most ``workers`` worker threads (aio: coroutines of one query each); all others wait.
    Each worker keeps the memory of its last call, so memory does not grow with the number or the
    variety of calls; with ``scratch_bytes`` queries in flight are so few that their memory stays within
    it: each worker has its share, and a call that needs more runs alone. ``faults`` befall the
    reads of each worker (for tests).

    Belongs to the process that made it: in a forked child all calls raise IndexClosed.
    """

    def __init__(
        self,
        segment: LoadedSegment,
        driver: str,
        *,
        workers: int,
        slots: int,
        scratch_bytes: int = 0,
        faults: Sequence[Fault] = (),
    ) -> None:
        if workers < 1 or slots < 1:
            raise InvalidArgument(f"workers={workers}, slots={slots}: an engine needs at least 1 of each")
        self._segment = segment
        self._made_in = fork.generation()
        self._closed = False
        self._crew = _make_crew(segment.resident, driver, workers, slots, faults, scratch_bytes)
        self._finalizer = weakref.finalize(self, self._crew.abandon)
        self._finalizer.atexit = False

    def run(
        self,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64] | None = None,
        *,
        workers: int | None = None,
    ) -> Answers:
        """The ``options.size.k`` nearest rows of each of ``queries`` (float32 (q, dim)).

        ``excluded`` (int64 (q,)) names a row to leave out of each answer, -1 for none; ``workers``
        is the most that work at it at a time. Raises DamagedIndex, FormatTooNew or StorageError for
        a page that cannot be used, IndexClosed after :meth:`close`. When interrupted it ends once
        reads in flight have. It blocks: coroutines await :meth:`arun`.
        """
        call = self._call(queries, options, excluded, workers)
        if len(call):
            self._crew.run(call)
        return self._outcome(call)

    async def arun(
        self,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64] | None = None,
    ) -> Answers:
        """The same for coroutines. Small calls with equal options that wait are answered together."""
        call = self._call(queries, options, excluded, None)
        if len(call):
            await self._crew.arun(call)
        return self._outcome(call)

    def _call(
        self,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64] | None,
        workers: int | None,
    ) -> Call:
        """Check what kernels rely on."""
        fork.require_same_process(self._made_in, "the index")
        if self._closed:
            raise closed_engine()
        dim = self._segment.entry.dim
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise InvalidArgument(f"queries have the shape {queries.shape}; the index needs (q, {dim})")
        if excluded is None:
            excluded = _no_rows(len(queries))
        elif excluded.shape != (len(queries),):
            raise InvalidArgument(f"excluded has the shape {excluded.shape}; give a row for each query")
        width = self._crew.workers if workers is None else workers
        return Call(_for_kernels(queries, np.float32), options, _for_kernels(excluded, np.int64), width)

    def _outcome(self, call: Call) -> Answers:
        if call.error is not None:
            raise call.error
        if call.answers is None or call.answers.unfinished:
            raise closed_engine()  # only an engine that ends leaves queries unanswered
        raise_fault(self._segment, call.answers)
        return call.answers

    def close(self) -> None:
        """Answer the calls that wait, and end the workers; a second call does nothing."""
        self._closed = True
        self._finalizer.detach()
        self._crew.close()
