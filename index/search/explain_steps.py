"""The step machine driven from Python, for those who want to look at it between rounds."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from pageann.errors import IndexClosed
from pageann.index.kernels import state
from pageann.index.kernels.step import absorb_round, start_query
from pageann.index.search.answers import Answers
from pageann.index.search.engine_faults import raise_fault
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.load import LoadedSegment
from pageann.index.search.rounds import ReadBatch
from pageann.index.search.workspace import Workspace
from pageann.storage.io.threads import ThreadsDriver

__all__ = ["SteppedSearch"]

_READS_IN_FLIGHT = 8
_SLOT = 0
"""One query at a time: the only row of the workspace."""


class SteppedSearch:
    """Searches one query after another over ``segment``, pausing after each round; a context manager.

    It makes the same steps as the engine with the same ``options``, so the answer is the same. Its
    memory, that of one query, is its own. Raises IndexClosed, and what a search raises for bad pages.
    """

    def __init__(self, segment: LoadedSegment, options: CallOptions) -> None:
        self.segment = segment
        self.options = options
        self._workspace = Workspace(segment.resident, 1, options.size)
        self._batch = ReadBatch(1, options.size.width)
        self._driver = ThreadsDriver(_READS_IN_FLIGHT)
        self.work = self._workspace.work
        self.counters = self.work.counters[_SLOT]
        options.write(self.work.call)

    def start(self, query: npt.NDArray[np.float32]) -> None:
        """Begin ``query`` float32 (dim,) and plan its first round."""
        queries = np.array([query], np.float32)
        outputs = np.zeros((1, state.COUNTER_COUNT), np.int64)
        outputs[0, state.N_DEADLINE_NS] = self.options.deadline_ns
        start_query(self.segment.resident, self.work, _SLOT, 0, queries, np.full(1, -1), outputs)

    @property
    def done(self) -> bool:
        """Whether the query has its answer."""
        return bool(self.counters[state.N_PHASE] == state.PHASE_DONE)

    @property
    def walking(self) -> bool:
        """Whether the round is of pages that are walked, not of exact records."""
        return bool(self.counters[state.N_PHASE] == state.PHASE_WALK)

    @property
    def wanted(self) -> npt.NDArray[np.int64]:
        """Numbers of the pages of the round, in order; a copy."""
        return self.work.wanted[_SLOT, : self.counters[state.N_WANTED]].copy()

    @property
    def pinned(self) -> npt.NDArray[np.bool_]:
        """Which of them are in memory already; asked before :meth:`read`."""
        results = self.work.wanted_results[_SLOT, : self.counters[state.N_WANTED]]
        return np.asarray(results == state.PINNED)

    def read(self) -> None:
        """Bring the pages of the round into memory."""
        places = np.flatnonzero(~self.pinned)
        if len(places) == 0:
            return
        layout = state.P_PAGE_LAYOUT if self.walking else state.P_EXACT_LAYOUT
        parameters = self.segment.resident.parameters
        page_bytes = int(parameters[layout + state.LAYOUT_PAGE_BYTES])
        if any(file.fd < 0 for file in self.segment.files.values()):
            raise IndexClosed(f"{self.segment.folder.parent}: this index was closed; open it again")
        fds, offsets, sizes, addresses, results = self._batch.first(len(places))
        fds[:] = parameters[layout + state.LAYOUT_FD]
        offsets[:] = (self.work.wanted[_SLOT, places] + 1) * page_bytes
        sizes[:] = page_bytes
        addresses[:] = self.work.wanted_addresses[_SLOT, places]
        self._driver.read_batch(fds, offsets, sizes, addresses, results)
        self.work.wanted_results[_SLOT, places] = results

    def absorb(self) -> None:
        """Take in the round and plan the next one."""
        absorb_round(self.segment.resident, self.work, _SLOT)
        if self.counters[state.N_FAULT]:
            failed = Answers.unanswered(1, 1)
            failed.counters[0] = self.counters
            raise_fault(self.segment, failed)

    def answer(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(rows, distances) of the results so far, nearest first; copies."""
        count = int(self.counters[state.N_TOP])
        return self.work.top_rows[_SLOT, :count].copy(), self.work.top_distances[_SLOT, :count].copy()

    def close(self) -> None:
        """Free the memory and end the threads."""
        self._driver.close()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
