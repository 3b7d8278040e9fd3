"""Run queries over an io_uring: many in flight on one thread, without the GIL."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.state import (
    LAYOUT_FD,
    LAYOUT_PAGE_BYTES,
    N_DEVICE_READS,
    N_EXCLUDED_ROW,
    N_PENDING,
    N_PHASE,
    N_QUERY,
    N_READS,
    N_START_NS,
    N_TOP,
    N_WANTED,
    P_EXACT_LAYOUT,
    P_PAGE_LAYOUT,
    PHASE_DONE,
    PHASE_RERANK,
    PINNED,
)
from pageann.index.kernels.clock import now_ns
from pageann.index.kernels.step import absorb_round, start_query
from pageann.jit import kernel
from pageann.storage.io.uring_kernels import (
    is_transient,
    ring_push_read,
    ring_reap,
    ring_submit_wait,
)

__all__ = ["search_over_ring", "store_answer"]


@kernel
def store_answer(work, slot, rows, distances, slots, counts, counters):  # type: ignore[no-untyped-def]
    """Copy a finished query's answer and counters to row N_QUERY of the outputs."""
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


@kernel
def _layout_of(work, slot):  # type: ignore[no-untyped-def]
    return P_EXACT_LAYOUT if work.counters[slot, N_PHASE] == PHASE_RERANK else P_PAGE_LAYOUT


@kernel
def _push_round(resident, work, ring, slot):  # type: ignore[no-untyped-def]
    """Push the device reads of a round; the ring is large enough for all rounds in flight."""
    layout = _layout_of(work, slot)
    fd = resident.parameters[layout + LAYOUT_FD]
    page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
    width = work.wanted.shape[1]
    for i in range(work.counters[slot, N_WANTED]):
        if work.wanted_results[slot, i] == PINNED:
            continue
        offset = (work.wanted[slot, i] + 1) * page_bytes
        if not ring_push_read(
            ring, fd, offset, page_bytes, work.wanted_addresses[slot, i], slot * width + i
        ):
            return False
    work.counters[slot, N_PENDING] = work.counters[slot, N_DEVICE_READS]
    return True


@kernel
def _advance(resident, work, ring, slot):  # type: ignore[no-untyped-def]
    """Absorb rounds that need no device; push the next that does. 1 done, 0 waiting, -1 the ring is full."""
    while work.counters[slot, N_PHASE] != PHASE_DONE:
        if work.counters[slot, N_DEVICE_READS] > 0:
            return 0 if _push_round(resident, work, ring, slot) else -1
        absorb_round(resident, work, slot)
    return 1


@kernel
def search_over_ring(
    resident, work, ring, queries, excluded, first, last, rows, distances, slots, counts, counters, stop
):  # type: ignore[no-untyped-def]
    """Answer ``queries[first:last]``; returns 0, or minus an error number of the ring itself.

    ``excluded`` int64 (q,): a row to leave out of each answer, or -1. ``stop`` int64[1]: not 0 ends
    the call between completions; queries not answered then have a count of -1.
    """
    capacity = work.counters.shape[0]
    width = work.wanted.shape[1]
    free = np.empty(capacity, np.int64)
    for slot in range(capacity):
        free[slot] = slot
    free_count = capacity
    in_flight = 0
    upcoming = first
    user_data = np.empty(64, np.int64)
    results = np.empty(64, np.int32)
    while upcoming < last or in_flight > 0:
        while free_count > 0 and upcoming < last and stop[0] == 0:
            free_count -= 1
            slot = free[free_count]
            work.counters[slot, N_QUERY] = upcoming
            work.counters[slot, N_EXCLUDED_ROW] = excluded[upcoming]
            start_query(resident, work, slot, queries[upcoming])
            upcoming += 1
            state = _advance(resident, work, ring, slot)
            if state < 0:
                return -11
            if state == 1:
                store_answer(work, slot, rows, distances, slots, counts, counters)
                free[free_count] = slot
                free_count += 1
            else:
                in_flight += 1
        if in_flight == 0:
            if stop[0] != 0:
                return 0
            continue
        submitted = ring_submit_wait(ring, 1, -1)
        if submitted < 0:
            return submitted
        found = ring_reap(ring, user_data, results)
        for c in range(found):
            slot = user_data[c] // width
            i = user_data[c] - slot * width
            if is_transient(results[c]):
                layout = _layout_of(work, slot)
                page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
                offset = (work.wanted[slot, i] + 1) * page_bytes
                fd = resident.parameters[layout + LAYOUT_FD]
                if ring_push_read(ring, fd, offset, page_bytes, work.wanted_addresses[slot, i], user_data[c]):
                    continue
            work.wanted_results[slot, i] = results[c]
            work.counters[slot, N_PENDING] -= 1
            if work.counters[slot, N_PENDING] > 0:
                continue
            absorb_round(resident, work, slot)
            state = _advance(resident, work, ring, slot)
            if state < 0:
                return -11
            if state == 1:
                store_answer(work, slot, rows, distances, slots, counts, counters)
                free[free_count] = slot
                free_count += 1
                in_flight -= 1
    return 0
