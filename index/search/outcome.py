"""Turn what the engine answers into the results of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.kernels import state
from pageann.index.search.answers import Answers
from pageann.results import QueryStats, RangeResult, SearchResult, StopReason

__all__ = ["exact_stats", "padded_result", "range_result", "stats_of"]

_NS_OF_US = 1000.0


def stats_of(
    counters: npt.NDArray[np.int64],
    effort: int,
    warnings: tuple[str, ...],
    *,
    id_reads: int = 0,
    id_kib: float = 0.0,
) -> QueryStats:
    """Statistics of each query; reads for ids are shared out over the queries, and are one more hop."""
    queries = len(counters)
    each_reads, rest = divmod(id_reads, max(queries, 1))
    extra = each_reads + (np.arange(queries) < rest)
    return QueryStats(
        reads=counters[:, state.N_READS] + extra,
        kib=counters[:, state.N_BYTES] / 1024.0 + id_kib / max(queries, 1),
        units=counters[:, state.N_HALF_UNITS] / 2.0 + extra,
        hops=counters[:, state.N_HOPS] + (1 if id_reads else 0),
        codes_scored=counters[:, state.N_CODES],
        pinned_hits=counters[:, state.N_PINNED],
        route_us=counters[:, state.N_ROUTE_NS] / _NS_OF_US,
        scan_us=counters[:, state.N_SCAN_NS] / _NS_OF_US,
        read_us=counters[:, state.N_READ_NS] / _NS_OF_US,
        total_us=counters[:, state.N_PENDING] / _NS_OF_US,
        effort=np.full(queries, effort, np.int64),
        stopped=counters[:, state.N_STOP],
        warnings=warnings,
    )


def exact_stats(queries: int, pages: int, page_bytes: int) -> QueryStats:
    """Statistics of exact search, which reads every page once for all queries of a call."""
    share = np.full(queries, pages / max(queries, 1))
    zeros = np.zeros(queries)
    none = np.zeros(queries, np.int64)
    return QueryStats(
        reads=share,
        kib=share * page_bytes / 1024.0,
        units=share * (0.5 + page_bytes / 8192.0),
        hops=none,
        codes_scored=none,
        pinned_hits=none,
        route_us=zeros,
        scan_us=zeros,
        read_us=zeros,
        total_us=zeros,
        effort=none,
        stopped=np.full(queries, int(StopReason.EXHAUSTED), np.int64),
    )


def padded_result(
    answers: Answers, ids: npt.NDArray[Any], k: int, stats: QueryStats, *, keep_stats: bool
) -> SearchResult:
    """The answers with rows replaced by ids, padded to ``k``."""
    queries, found = answers.rows.shape
    distances = np.full((queries, k), np.inf, np.float32)
    distances[:, :found] = answers.distances
    padding = None if ids.dtype == object else -1
    padded = np.full((queries, k), padding, dtype=ids.dtype)
    padded[:, :found] = ids
    return SearchResult(
        ids=padded,
        distances=distances,
        counts=answers.counts.astype(np.int32),
        stats=stats if keep_stats else None,
        complete=_complete(stats),
    )


def range_result(
    found: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    ids: npt.NDArray[Any],
    stats: QueryStats,
    *,
    keep_stats: bool,
) -> RangeResult:
    """Flat form of what lies within a radius of each query; ``ids`` of all rows in order."""
    counts = [len(rows) for rows, _ in found]
    lims = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    distances = np.concatenate([values for _, values in found] or [np.empty(0)])
    held = stats if keep_stats else None
    return RangeResult(lims, ids, distances.astype(np.float32), held, _complete(stats))


def _complete(stats: QueryStats) -> npt.NDArray[np.bool_]:
    """(q,): False where a limit cut the search short."""
    cut = (stats.stopped == StopReason.DEADLINE) | (stats.stopped == StopReason.MAX_PAGE_READS)
    return np.asarray(~cut)
