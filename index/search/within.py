"""Range search: k-nearest calls with growing k, until the last row that is found lies outside the radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument
from pageann.index.kernels import state
from pageann.index.search.answers import Answers
from pageann.results import StopReason

__all__ = ["Within", "rows_within"]

_FIRST_K = 16
"""What small memory budgets have room for."""
_GROWTH = 4

Search = Callable[[npt.NDArray[np.int64], int, int], Answers]
"""(numbers of queries, k, most reads of each) -> answers."""


@dataclass(frozen=True, slots=True)
class Within:
    """What lies within a radius of each query, and what it cost."""

    found: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    """(rows, distances) of each query, ascending."""
    counters: npt.NDArray[np.int64]
    """(q, COUNTER_COUNT): sums over the calls of a query, but for the reason why the last one ended."""


def rows_within(
    queries: int, radius: float, rows: int, most_reads: int, most_results: int, search: Search
) -> Within:
    """All of ``rows`` within ``radius`` of so many queries that searches find within ``most_reads`` each.

    InvalidArgument as soon as more than ``most_results`` are found, of all queries together; no search is
    asked for many more than that.
    """
    pending = np.arange(queries)
    found: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = [(np.empty(0, np.int64), np.empty(0))] * queries
    counters = np.zeros((queries, state.COUNTER_COUNT), np.int64)
    k = min(_FIRST_K, rows)
    total = held_before = 0
    while True:
        used = int(counters[pending, state.N_READS].max(initial=0))
        answers = search(pending, k, most_reads - used)
        counters[pending] += answers.counters
        counters[pending, state.N_STOP] = answers.counters[:, state.N_STOP]
        inside = (answers.distances <= radius) & (answers.rows >= 0)
        for query, held, near, distances in zip(
            pending.tolist(), inside, answers.rows, answers.distances, strict=True
        ):
            found[query] = (near[held], distances[held])
        total += int(inside.sum()) - held_before
        if total > most_results:
            raise InvalidArgument(
                f"radius={radius:g}: more than {most_results:,} rows are inside; ask for a smaller radius, "
                "or send fewer queries"
            )
        pending = _unfinished(pending[inside.all(axis=1)], counters, most_reads)
        if len(pending) == 0 or k >= rows:
            return Within(found, counters)
        # Those that go on have k rows each, which the next search finds again.
        held_before = len(pending) * k
        k = min(rows, _GROWTH * k, k + 1 + (most_results - total) // len(pending))


def _unfinished(
    full: npt.NDArray[np.int64], counters: npt.NDArray[np.int64], most_reads: int
) -> npt.NDArray[np.int64]:
    """Those of ``full`` that may search on; the others are marked as cut short."""
    stops = counters[full, state.N_STOP]
    cut = (stops == StopReason.DEADLINE) | (stops == StopReason.MAX_PAGE_READS)
    spent = counters[full, state.N_READS] >= most_reads
    counters[full[spent & ~cut], state.N_STOP] = int(StopReason.MAX_PAGE_READS)
    return np.asarray(full[~(cut | spent)])
