"""What every loop over queries in flight does with one of them: begin it, settle it, store its answer."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.clock import now_ns
from pageann.index.kernels.state import (
    FLOW_ENDED,
    FLOW_LAST,
    FLOW_LIVE,
    FLOW_NEXT,
    GONE,
    LAYOUT_PAGE_BYTES,
    N_DEADLINE_NS,
    N_DEVICE_READS,
    N_PENDING,
    N_PHASE,
    N_QUERY,
    N_START_NS,
    N_TOP,
    N_WANTED,
    P_EXACT_LAYOUT,
    P_PAGE_LAYOUT,
    PHASE_DONE,
    PHASE_RERANK,
)
from pageann.index.kernels.step import absorb_round, start_query
from pageann.jit import kernel

__all__ = ["begin_query", "end_unread", "go_on_with", "layout_of_round", "unbegun"]


@kernel
def unbegun(asked):  # type: ignore[no-untyped-def]
    """How many queries were not begun."""
    return asked.flow[FLOW_LAST] - asked.flow[FLOW_NEXT]


@kernel
def begin_query(resident, work, slot, asked):  # type: ignore[no-untyped-def]
    """Begin the next query in row ``slot``; whether that ended it, for want of anything to read."""
    number = asked.order[asked.flow[FLOW_NEXT] % asked.order.shape[0]]
    asked.flow[FLOW_NEXT] += 1
    asked.flow[FLOW_LIVE] += 1
    start_query(resident, work, slot, number, asked.queries, asked.excluded, asked.counters)
    return _settle(resident, work, slot, asked)


@kernel
def go_on_with(resident, work, slot, asked):  # type: ignore[no-untyped-def]
    """Take in the round that was read for row ``slot``; whether its query has ended.

    A deadline may have changed since the query began: its caller may have gone.
    """
    query = work.counters[slot, N_QUERY]
    work.counters[slot, N_DEADLINE_NS] = asked.counters[query, N_DEADLINE_NS]
    absorb_round(resident, work, slot)
    return _settle(resident, work, slot, asked)


@kernel
def end_unread(resident, work, slot, asked):  # type: ignore[no-untyped-def]
    """End the query of row ``slot`` with the pages of its round that have arrived, or cannot be read.

    Others are still read: the buffers are the device's until they are.
    """
    page_bytes = resident.parameters[layout_of_round(work, slot) + LAYOUT_PAGE_BYTES]
    kept = 0
    for i in range(work.counters[slot, N_WANTED]):
        if work.wanted_results[slot, i] < 0 or work.wanted_results[slot, i] == page_bytes:
            work.wanted[slot, kept] = work.wanted[slot, i]
            work.wanted_addresses[slot, kept] = work.wanted_addresses[slot, i]
            work.wanted_results[slot, kept] = work.wanted_results[slot, i]
            kept += 1
    work.counters[slot, N_WANTED] = kept
    work.counters[slot, N_DEADLINE_NS] = GONE  # so that it plans no further round
    absorb_round(resident, work, slot)
    _store_answer(work, slot, asked)


@kernel
def _settle(resident, work, slot, asked):  # type: ignore[no-untyped-def]
    """Absorb rounds that need no device; whether the query is done, and stored. If not, read its round."""
    while work.counters[slot, N_PHASE] != PHASE_DONE:
        if work.counters[slot, N_DEVICE_READS] > 0:
            return False
        absorb_round(resident, work, slot)
    _store_answer(work, slot, asked)
    return True


@kernel
def layout_of_round(work, slot):  # type: ignore[no-untyped-def]
    """Where the layout of the pages of the round stands in the parameters."""
    return P_EXACT_LAYOUT if work.counters[slot, N_PHASE] == PHASE_RERANK else P_PAGE_LAYOUT


@kernel
def _store_answer(work, slot, asked):  # type: ignore[no-untyped-def]
    """Copy a finished query's answer and counters to row N_QUERY of ``asked``, and note its end.

    N_PENDING of the stored counters is the nanoseconds from its start to now; in ``work`` it is 0.
    """
    query = work.counters[slot, N_QUERY]
    places = asked.rows.shape[1]
    found = min(work.counters[slot, N_TOP], places)
    for i in range(places):
        if i < found:
            asked.rows[query, i] = work.top_rows[slot, i]
            asked.distances[query, i] = work.top_distances[slot, i]
            asked.slots[query, i] = work.top_slots[slot, i]
        else:
            asked.rows[query, i] = -1
            asked.distances[query, i] = np.inf
            asked.slots[query, i] = -1
    work.counters[slot, N_PENDING] = now_ns() - work.counters[slot, N_START_NS]
    for i in range(asked.counters.shape[1]):
        asked.counters[query, i] = work.counters[slot, i]
    work.counters[slot, N_PENDING] = 0
    asked.counts[query] = found
    asked.ended[asked.flow[FLOW_ENDED]] = query
    asked.flow[FLOW_ENDED] += 1
    asked.flow[FLOW_LIVE] -= 1
