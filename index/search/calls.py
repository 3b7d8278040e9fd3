"""One call of an engine: its queries, its answers, and who waits for them."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import numpy.typing as npt

from pageann.errors import IndexClosed
from pageann.index.kernels.state import N_DEADLINE_NS
from pageann.index.search.answers import Answers
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.part import Part

__all__ = ["Call", "Ending", "closed_engine"]

_LARGEST_SHARE = 1024
"""Queries of a call that a worker takes at a time: others wait no longer than these last."""
_SMALL = 1 << 14
"""Places of the answers of a call that may share a job; larger ones have their own memory from the start."""


def closed_engine() -> IndexClosed:
    """The error for a call after, or cut short by, ``close``."""
    return IndexClosed("the index was closed; open it again")


class Ending:
    """What one thread waits for and another brings about, once: an Event at a fifth of its cost."""

    __slots__ = ("_come", "_pending")

    def __init__(self) -> None:
        self._come = False
        self._pending = threading.Lock()
        self._pending.acquire()

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._come

    def set(self) -> None:
        """Let those who wait go on; a second time does nothing."""
        if not self._come:
            self._come = True
            self._pending.release()

    def wait(self) -> None:
        """Wait for it; an interrupt of the main thread ends that."""
        with self._pending:  # let the next one pass
            pass


class Call:
    """One call: its queries, its answers, and how far it is."""

    def __init__(
        self,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64],
        width: int,
    ) -> None:
        self.queries = queries
        self.options = options
        self.excluded = excluded
        self.is_small = 0 < len(queries) * options.size.k <= _SMALL
        self.answers = None if self.is_small else self._unanswered()
        """None of a small call that no worker has answered; in others, what is not answered says so."""
        self.key = options.without_deadline()
        self.stop = np.zeros(1, np.int64)
        self.width = max(1, min(width, len(queries)))
        """Most workers at a time."""
        self.share = min(-(-len(queries) // self.width), _LARGEST_SHARE)
        self.upcoming = 0
        """The first query that no worker has taken."""
        self.running = 0
        """Workers at it."""
        self.error: BaseException | None = None
        self.ended = Ending()
        self.future: asyncio.Future[None] | None = None
        """Resolved instead, in its loop, where a coroutine waits."""

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def untouched(self) -> bool:
        """Whether no worker has taken any of it."""
        return self.upcoming == 0

    def _unanswered(self) -> Answers:
        answers = Answers.unanswered(len(self.queries), self.options.size.k)
        answers.counters[:, N_DEADLINE_NS] = self.options.deadline_ns
        return answers

    def part(self, first: int, last: int) -> Part:
        """A range of its queries."""
        if self.answers is None:
            self.answers = self._unanswered()
        order = np.arange(first, last)
        return Part.of(self.queries, self.options, self.excluded, self.answers, order, self.stop)
