"""Explain one query: search for it step by step, and hold what happened against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.explanation import Explanation, SearchCost, SearchRound, TrueNeighbour, VisitedPage
from pageann.index.kernels import state
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.explain_steps import SteppedSearch
from pageann.index.search.explain_trace import PageTrace, RoundTrace, Trace, trace_search
from pageann.index.search.explain_truth import Truth, true_neighbours
from pageann.index.search.ids import IdMap
from pageann.index.search.load import LoadedSegment
from pageann.index.search.outcome import stats_of
from pageann.index.search.records import RecordReader
from pageann.results import QueryStats, StopReason
from pageann.types import Metric

__all__ = ["Asked", "explain_query"]

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, and how it is to be searched."""

    query: npt.NDArray[np.float32]
    """(dim,)."""
    k: int
    """At most the rows of the index."""
    recall: float | None
    max_page_reads: int | None
    options: CallOptions
    warnings: tuple[str, ...]
    path: str


def explain_query(
    segment: LoadedSegment, ids: IdMap, records: RecordReader | None, asked: Asked, threads: int
) -> Explanation:
    """Search for ``asked`` and say how; with ``records``, against the truth of an exact scan of them.

    Raises IndexClosed, DamagedIndex, FormatTooNew or StorageError.
    """
    with SteppedSearch(segment, asked.options) as search:
        trace = trace_search(search, asked.query)
        truth = None
        if records is not None:
            exact = _truth(segment, ids, records, asked, threads)
            truth = true_neighbours(segment, trace, exact)
    return _explanation(segment, ids, asked, trace, truth)


def _truth(segment: LoadedSegment, ids: IdMap, records: RecordReader, asked: Asked, threads: int) -> Truth:
    metric = Metric.parse(segment.entry.metric)
    rows, distances = records.exact_scan(
        asked.query[None], asked.k, metric, integral=asked.options.integral, threads=threads
    )
    names, _, _ = ids.ids_of_rows(rows[0])
    return Truth(names.tolist(), rows[0], distances[0], ids.slots_of_rows(rows[0]))


def _explanation(
    segment: LoadedSegment,
    ids: IdMap,
    asked: Asked,
    trace: Trace,
    truth: tuple[TrueNeighbour, ...] | None,
) -> Explanation:
    names, id_reads, id_kib = ids.ids_of_rows(trace.rows)
    stats = stats_of(
        trace.counters[None], asked.options.size.effort, asked.warnings, id_reads=id_reads, id_kib=id_kib
    )
    scored = len(trace.frontier) if trace.has_codes else trace.frontier_used
    stopped = StopReason(int(trace.counters[state.N_STOP]))
    return Explanation(
        path=asked.path,
        metric=segment.entry.metric,
        rows=segment.entry.rows,
        k=asked.k,
        recall_asked=asked.recall,
        effort=asked.options.size.effort,
        max_page_reads=asked.max_page_reads,
        groups=len(trace.group_scores),
        groups_scored=min(scored, len(trace.group_scores)),
        ids=tuple(names.tolist()),
        distances=tuple(trace.distances.astype(np.float32).tolist()),
        rounds=tuple(_rounds(trace, truth)),
        truth=truth,
        cost=_cost(stats),
        stopped=stopped,
        stopped_because=_why_stopped(stopped, trace, asked.options),
        warnings=asked.warnings,
    )


def _rounds(trace: Trace, truth: tuple[TrueNeighbour, ...] | None) -> list[SearchRound]:
    missed = np.array([each.row for each in truth or () if not each.found], np.int64)
    true_rows = np.array([each.row for each in truth or ()], np.int64)
    return [_round(each, trace, missed, None if truth is None else true_rows) for each in trace.rounds]


def _round(current: RoundTrace, trace: Trace, missed: Int64s, true_rows: Int64s | None) -> SearchRound:
    known = np.isin(trace.rows, current.known)
    return SearchRound(
        pages=tuple(_page(each, trace, missed) for each in current.pages),
        reads=current.reads,
        found=int(known.sum()),
        true_found=None if true_rows is None else int(np.isin(true_rows, current.known).sum()),
        limit_before=current.limit_before,
        limit_after=current.limit_after,
        kth_distance=current.kth_distance,
        open_candidates=current.open_candidates,
    )


def _page(page: PageTrace, trace: Trace, missed: Int64s) -> VisitedPage:
    return VisitedPage(
        page=page.page,
        origin=page.origin,
        told_by=page.told_by,
        rank=page.rank,
        estimate=trace.estimates.distance(page.score),
        pinned=page.pinned,
        vectors=len(page.brought),
        hits=int(np.isin(page.brought, trace.rows).sum()),
        missed=int(np.isin(page.brought, missed).sum()),
    )


def _cost(stats: QueryStats) -> SearchCost:
    return SearchCost(
        reads=int(stats.reads[0]),
        kib=float(stats.kib[0]),
        units=float(stats.units[0]),
        hops=int(stats.hops[0]),
        codes_scored=int(stats.codes_scored[0]),
        pinned_hits=int(stats.pinned_hits[0]),
        route_us=float(stats.route_us[0]),
        scan_us=float(stats.scan_us[0]),
        read_us=float(stats.read_us[0]),
    )


def _why_stopped(stopped: StopReason, trace: Trace, options: CallOptions) -> str:
    """The reason in a sentence."""
    if stopped is StopReason.MAX_PAGE_READS:
        return f"the reads that were allowed ({options.max_reads:,}) were used up"
    if stopped is StopReason.EXHAUSTED:
        return "every page that could be reached was looked at"
    looked = int(trace.counters[state.N_READS] + trace.counters[state.N_PINNED])
    if looked >= options.walk_pages:
        return f"{looked:,} pages were looked at, as many as effort {options.size.effort:,} allows"
    if not trace.has_codes and trace.frontier_used >= len(trace.frontier):
        return f"the {len(trace.frontier):,} groups that the router puts in line at this effort were used up"
    still = [score for _, kind, score in trace.pool if kind != state.EXACT]
    limit = trace.rounds[-1].limit_after if trace.rounds else None
    nearest = trace.estimates.distance(min(still, default=np.inf))
    if still and trace.by_margin and limit is not None and nearest > limit:
        return (
            f"the best estimate left, {nearest:.6g}, is above {limit:.6g}, up to which a page is "
            f"worth a read at effort {options.size.effort:,}"
        )
    if still:
        return (
            f"what was left ({len(still):,} candidates) was beyond what the memory of a query keeps track of"
        )
    kept = len(trace.pool) if trace.by_margin else options.size.effort
    return f"no page was left that might hold one of the best {kept:,} candidates"
