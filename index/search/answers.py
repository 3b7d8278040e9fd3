"""What the engine hands back: one row of each array a query."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.state import COUNTER_COUNT, N_FAULT

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

    def copy_into(self, other: Answers, first: int) -> None:
        """Copy rows ``first ..`` of these, as many as ``other`` has, to ``other``."""
        last = first + len(other.counts)
        other.rows[:] = self.rows[first:last]
        other.distances[:] = self.distances[first:last]
        other.slots[:] = self.slots[first:last]
        other.counts[:] = self.counts[first:last]
        other.counters[:] = self.counters[first:last]


@functools.cache
def _one_unanswered(k: int) -> Answers:
    """To be copied; of at most ``_USUAL_K`` kinds."""
    return Answers(
        np.full((1, k), -1, np.int64), np.full((1, k), np.inf), np.full((1, k), -1, np.int64),
        np.full(1, UNANSWERED, np.int32), np.zeros((1, COUNTER_COUNT), np.int64),
    )  # fmt: skip
