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

_MEASURES = np.array([
    state.N_BYTES, state.N_HALF_UNITS, state.N_ROUTE_NS, state.N_SCAN_NS, state.N_READ_NS, state.N_PENDING,
])  # fmt: skip
_FACTORS = np.array([1 / 1024, 0.5, 1e-3, 1e-3, 1e-3, 1e-3])
"""From those counters to KiB, read units and microseconds."""

_CUT_SHORT = (int(StopReason.DEADLINE), int(StopReason.MAX_PAGE_READS))
"""NumPy takes four times as long to compare with members of an enumeration."""


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
    reads, hops = counters[:, state.N_READS], counters[:, state.N_HOPS]
    kib, units, route_us, scan_us, read_us, total_us = (counters.take(_MEASURES, 1) * _FACTORS).T
    if id_reads:
        each_reads, rest = divmod(id_reads, max(queries, 1))
        extra = each_reads + (np.arange(queries) < rest)
        reads, hops, units = reads + extra, hops + 1, units + extra
        kib = kib + id_kib / max(queries, 1)
    return QueryStats(
        reads=reads,
        kib=kib,
        units=units,
        hops=hops,
        codes_scored=counters[:, state.N_CODES],
        pinned_hits=counters[:, state.N_PINNED],
        shared_reads=counters[:, state.N_SHARED],
        route_us=route_us,
        scan_us=scan_us,
        read_us=read_us,
        total_us=total_us,
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
        shared_reads=none,
        route_us=zeros,
        scan_us=zeros,
        read_us=zeros,
        total_us=zeros,
        effort=none,
        stopped=np.full(queries, int(StopReason.EXHAUSTED), np.int64),
    )


def padded_result(answers: Answers, ids: npt.NDArray[Any], k: int, stats: QueryStats | None) -> SearchResult:
    """The answers with rows replaced by ids, padded to ``k``."""
    queries, found = answers.rows.shape
    distances = answers.distances.astype(np.float32)
    if found < k:
        padding = None if ids.dtype == object else -1
        distances = np.concatenate([distances, np.full((queries, k - found), np.inf, np.float32)], axis=1)
        ids = np.concatenate([ids, np.full((queries, k - found), padding, dtype=ids.dtype)], axis=1)
    return SearchResult(
        ids=ids,
        distances=distances,
        counts=answers.counts,
        stats=stats,
        complete=_complete(answers.counters[:, state.N_STOP]),
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
    return RangeResult(lims, ids, distances.astype(np.float32), held, _complete(stats.stopped))


def _complete(stopped: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """(q,): False where a limit cut the search short."""
    if len(stopped) == 1:
        return np.array([stopped.item(0) not in _CUT_SHORT])
    return np.asarray((stopped != _CUT_SHORT[0]) & (stopped != _CUT_SHORT[1]))
