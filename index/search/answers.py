"""What the engine hands back: one row of each array a query."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.state import COUNTER_COUNT, N_BYTES, N_FAULT, N_READS

__all__ = ["UNANSWERED", "Answers"]

UNANSWERED = -1
"""In ``Answers.counts``: the query was not answered."""

_USUAL_K = 128


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of q queries, each sorted by (distance, row)."""

    rows: npt.NDArray[np.int64]
    """(q, k); -1 where there are fewer than k."""
    distances: npt.NDArray[np.float64]
    """(q, k), exact; inf where there are fewer than k."""
    slots: npt.NDArray[np.int64]
    """(q, k): the place of each row; -1 where there are fewer than k."""
    counts: npt.NDArray[np.int32]
    """(q,): how many of the k places are filled; UNANSWERED for a query that was not answered."""
    counters: npt.NDArray[np.int64]
    """(q, COUNTER_COUNT), by the ``N_`` positions of :mod:`pageann.index.kernels.state`."""

    @classmethod
    def unanswered(cls, queries: int, k: int) -> Answers:
        """Room for the answers of ``queries`` queries."""
        if queries == 1 and k <= _USUAL_K:  # as often: copies take under half of the time
            empty = _one_unanswered(k)
            return cls(
                empty.rows.copy(), empty.distances.copy(), empty.slots.copy(), empty.counts.copy(),
                empty.counters.copy(),
            )  # fmt: skip
        return cls(
            np.full((queries, k), -1, np.int64),
            np.full((queries, k), np.inf, np.float64),
            np.full((queries, k), -1, np.int64),
            np.full(queries, UNANSWERED, np.int32),
            np.zeros((queries, COUNTER_COUNT), np.int64),
        )

    @classmethod
    def room(cls, queries: int, k: int) -> Answers:
        """Room for answers that are read only once they are there: untouched, it takes no memory."""
        return cls(
            np.empty((queries, k), np.int64),
            np.empty((queries, k), np.float64),
            np.empty((queries, k), np.int64),
            np.full(queries, UNANSWERED, np.int32),
            np.empty((queries, COUNTER_COUNT), np.int64),
        )

    @property
    def unfinished(self) -> bool:
        """Whether a query was not answered."""
        if len(self.counts) == 1:  # reductions of so little take longer than all else
            return self.counts.item(0) == UNANSWERED
        return bool((self.counts == UNANSWERED).any())

    @property
    def faulty(self) -> bool:
        """Whether a query met a page that cannot be used."""
        if len(self.counters) == 1:
            return self.counters.item(0, N_FAULT) != 0
        return bool(self.counters[:, N_FAULT].any())

    @property
    def reads(self) -> tuple[int, int]:
        """(device reads, their bytes) of all queries."""
        if len(self.counters) == 1:
            return self.counters.item(0, N_READS), self.counters.item(0, N_BYTES)
        return int(self.counters[:, N_READS].sum()), int(self.counters[:, N_BYTES].sum())

    def copy_of(self, queries: list[int]) -> Answers:
        """The answers of some queries, in memory of their own."""
        if len(queries) == 1:  # as mostly; and to pick from a list takes twice as long
            query = queries[0]
            picked = slice(query, query + 1)
            return Answers(
                self.rows[picked].copy(), self.distances[picked].copy(), self.slots[picked].copy(),
                self.counts[picked].copy(), self.counters[picked].copy(),
            )  # fmt: skip
        return Answers(
            self.rows[queries], self.distances[queries], self.slots[queries], self.counts[queries],
            self.counters[queries],
        )  # fmt: skip


@functools.cache
def _one_unanswered(k: int) -> Answers:
    """To be copied; of at most ``_USUAL_K`` kinds."""
    return Answers(
        np.full((1, k), -1, np.int64), np.full((1, k), np.inf), np.full((1, k), -1, np.int64),
        np.full(1, UNANSWERED, np.int32), np.zeros((1, COUNTER_COUNT), np.int64),
    )  # fmt: skip
