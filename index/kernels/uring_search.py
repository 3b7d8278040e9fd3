"""Run queries over an io_uring: many in flight on one thread, without the GIL."""

from __future__ import annotations

import errno

import numpy as np

from pageann.index.kernels.flight import (
    heed_deadline,
    layout_of_round,
    settle_query,
    store_answer,
)
from pageann.index.kernels.state import (
    LAYOUT_FD,
    LAYOUT_PAGE_BYTES,
    N_DEVICE_READS,
    N_PENDING,
    N_WANTED,
    PINNED,
)
from pageann.index.kernels.step import absorb_round, start_query
from pageann.jit import kernel
from pageann.storage.io.contract import RETRIES_MAX
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT
from pageann.storage.io.uring_kernels import (
    is_transient,
    resume_point,
    ring_drain,
    ring_push_read,
    ring_reap,
    ring_submit_wait,
    settle_read,
)

__all__ = ["search_over_ring", "worth_waking_for"]

_RING_IS_FULL = -errno.ENOBUFS
_EBUSY = errno.EBUSY
_REAPED_AT_ONCE = 64
_SHARE_WAITED_FOR = 16


@kernel
def _push_page(resident, work, ring, slot, i, start):  # type: ignore[no-untyped-def]
    """Push the read of page ``i`` of the round from its byte ``start`` on; False if the ring is full."""
    layout = layout_of_round(work, slot)
    page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
    return ring_push_read(
        ring, resident.parameters[layout + LAYOUT_FD], (work.wanted[slot, i] + 1) * page_bytes + start,
        page_bytes - start, work.wanted_addresses[slot, i] + start, slot * work.wanted.shape[1] + i,
    )  # fmt: skip


@kernel
def _push_round(resident, work, ring, slot):  # type: ignore[no-untyped-def]
    """Push the device reads of a round; False if the ring, large enough for all rounds, is full."""
    work.counters[slot, N_PENDING] = work.counters[slot, N_DEVICE_READS]
    for i in range(work.counters[slot, N_WANTED]):
        if work.wanted_results[slot, i] != PINNED and not _push_page(resident, work, ring, slot, i, 0):
            return False
    return True


@kernel
def _settle_page(resident, work, ring, slot, i, result, retries):  # type: ignore[no-untyped-def]
    """Take in what the ring says of one read; False if its continuation finds the ring full.

    Until the read has ended its place in ``wanted_results`` counts the bytes that have arrived.
    """
    page_bytes = resident.parameters[layout_of_round(work, slot) + LAYOUT_PAGE_BYTES]
    if result != page_bytes or work.wanted_results[slot, i] != 0:
        done_bytes = np.int64(work.wanted_results[slot, i])
        start = resume_point(done_bytes)
        if is_transient(result) and retries[slot, i] < RETRIES_MAX:
            retries[slot, i] += 1
            return _push_page(resident, work, ring, slot, i, start)
        finished, result = settle_read(result, start, done_bytes, page_bytes)
        if not finished:
            work.wanted_results[slot, i] = result
            return _push_page(resident, work, ring, slot, i, resume_point(result))
        retries[slot, i] = 0
    work.wanted_results[slot, i] = result
    work.counters[slot, N_PENDING] -= 1
    return True


@kernel
def worth_waking_for(work, ring):  # type: ignore[no-untyped-def]
    """Completions to wait for at a time.

    No query can go on before as many as the fewest that one lacks. Of many reads in flight a share is waited
    for, since to sleep, to wake and to ring the device takes processor time, however many reads are meant.
    """
    fewest = ring[IN_FLIGHT_COUNT]
    for slot in range(work.counters.shape[0]):
        pending = work.counters[slot, N_PENDING]
        if pending > 0:
            fewest = min(fewest, pending)
    return max(fewest, ring[IN_FLIGHT_COUNT] // _SHARE_WAITED_FOR)


@kernel
def _submit(work, ring, refusals):  # type: ignore[no-untyped-def]
    """Submit, and wait for completions; (0 or minus an error number, refusals in a row)."""
    submitted = ring_submit_wait(ring, worth_waking_for(work, ring), -1)
    if submitted >= 0:
        return 0, 0
    if (is_transient(submitted) or submitted == -_EBUSY) and refusals < RETRIES_MAX:
        return 0, refusals + 1
    return submitted, refusals


@kernel(allocates=True)
def search_over_ring(  # type: ignore[no-untyped-def]
    resident, work, ring, queries, excluded, first, last, rows, distances, slots, counts, counters, stop
):
    """Answer ``queries[first:last]``; returns 0, or minus an error number of the ring itself.

    ``excluded`` int64 (q,): a row to leave out of each answer, or -1. ``counters`` int64 (q,
    COUNTER_COUNT): N_DEADLINE_NS of a row is read when its query begins and before each later round, the
    rest is output. ``stop``
    int64[1]: not 0 ends the call between completions. Queries that are not answered, then or after an
    error, keep the count that they had. No read is in flight afterwards, unless IN_FLIGHT_COUNT of a
    ring in trouble says so: then the buffers are not the caller's again.
    """
    user_data = np.empty(_REAPED_AT_ONCE, np.int64)
    results = np.empty(_REAPED_AT_ONCE, np.int32)
    free = np.arange(work.counters.shape[0])
    retries = np.zeros((work.counters.shape[0], work.wanted.shape[1]), np.uint8)
    return _search(
        resident, work, ring, queries, excluded, first, last, rows, distances, slots, counts, counters, stop,
        user_data, results, free, retries,
    )  # fmt: skip


@kernel
def _search(  # type: ignore[no-untyped-def]
    resident, work, ring, queries, excluded, first, last, rows, distances, slots, counts, counters, stop,
    user_data, results, free, retries,
):  # fmt: skip
    """The same with ``free`` slots, ``retries`` of each of their reads, and room for completions."""
    capacity = work.counters.shape[0]
    width = work.wanted.shape[1]
    free_count = capacity
    for slot in range(capacity):
        work.counters[slot, N_PENDING] = 0
    upcoming = first
    refusals = 0
    outcome = 0
    while stop[0] == 0:
        while outcome == 0 and free_count > 0 and upcoming < last:
            slot = free[free_count - 1]
            start_query(resident, work, slot, upcoming, queries, excluded, counters)
            upcoming += 1
            if settle_query(resident, work, slot):
                store_answer(work, slot, rows, distances, slots, counts, counters)
                work.counters[slot, N_PENDING] = 0
            elif _push_round(resident, work, ring, slot):
                free_count -= 1
            else:
                outcome = _RING_IS_FULL
        if outcome != 0 or free_count == capacity:
            break
        outcome, refusals = _submit(work, ring, refusals)
        if outcome != 0:
            break
        for c in range(ring_reap(ring, user_data, results)):
            slot = user_data[c] // width
            i = user_data[c] - slot * width
            if not _settle_page(resident, work, ring, slot, i, np.int64(results[c]), retries):
                outcome = _RING_IS_FULL
                break
            if work.counters[slot, N_PENDING] > 0:
                continue
            heed_deadline(work, slot, counters)
            absorb_round(resident, work, slot)
            if settle_query(resident, work, slot):
                store_answer(work, slot, rows, distances, slots, counts, counters)
                work.counters[slot, N_PENDING] = 0
                free[free_count] = slot
                free_count += 1
            elif not _push_round(resident, work, ring, slot):
                outcome = _RING_IS_FULL
                break
        if outcome != 0:
            break
    if outcome != 0 or stop[0] != 0:
        ring_drain(ring, user_data, results)
    return outcome
