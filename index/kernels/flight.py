"""What every loop over queries in flight does with one of them: settle it, store its answer."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.clock import now_ns
from pageann.index.kernels.state import (
    N_DEADLINE_NS,
    N_DEVICE_READS,
    N_PENDING,
    N_PHASE,
    N_QUERY,
    N_START_NS,
    N_TOP,
    P_EXACT_LAYOUT,
    P_PAGE_LAYOUT,
    PHASE_DONE,
    PHASE_RERANK,
)
from pageann.index.kernels.step import absorb_round
from pageann.jit import kernel

__all__ = ["heed_deadline", "layout_of_round", "settle_query", "store_answer"]


@kernel
def heed_deadline(work, slot, counters):  # type: ignore[no-untyped-def]
    """Take over a deadline that has changed since the query began: its caller may have gone."""
    work.counters[slot, N_DEADLINE_NS] = counters[work.counters[slot, N_QUERY], N_DEADLINE_NS]


@kernel
def settle_query(resident, work, slot):  # type: ignore[no-untyped-def]
    """Absorb rounds that need no device; whether the query is done. If not, its round is to be read."""
    while work.counters[slot, N_PHASE] != PHASE_DONE:
        if work.counters[slot, N_DEVICE_READS] > 0:
            return False
        absorb_round(resident, work, slot)
    return True


@kernel
def layout_of_round(work, slot):  # type: ignore[no-untyped-def]
    """Where the layout of the pages of the round stands in the parameters."""
    return P_EXACT_LAYOUT if work.counters[slot, N_PHASE] == PHASE_RERANK else P_PAGE_LAYOUT


@kernel
def store_answer(work, slot, rows, distances, slots, counts, counters):  # type: ignore[no-untyped-def]
    """Copy a finished query's answer and counters to row N_QUERY of the outputs.

    N_PENDING of the stored counters is the nanoseconds from its start to now.
    """
    query = work.counters[slot, N_QUERY]
    found = min(work.counters[slot, N_TOP], rows.shape[1])
    counts[query] = found
    for i in range(rows.shape[1]):
        if i < found:
            rows[query, i] = work.top_rows[slot, i]
            distances[query, i] = work.top_distances[slot, i]
            slots[query, i] = work.top_slots[slot, i]
        else:
            rows[query, i] = -1
            distances[query, i] = np.inf
            slots[query, i] = -1
    work.counters[slot, N_PENDING] = now_ns() - work.counters[slot, N_START_NS]
    for i in range(counters.shape[1]):
        counters[query, i] = work.counters[slot, i]
