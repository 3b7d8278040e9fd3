"""Run queries over an io_uring: many in flight on one thread, without the GIL."""

from __future__ import annotations

import errno

import numpy as np

from pageann.index.kernels.clock import now_ns
from pageann.index.kernels.flight import begin_query, end_unread, go_on_with, layout_of_round, unbegun
from pageann.index.kernels.sharing import (
    end_read,
    forget_reads,
    lead_or_follow,
    pass_on,
    read_key,
    stop_following,
)
from pageann.index.kernels.state import (
    FLOW_ENDED,
    FLOW_ENOUGH,
    FLOW_LIVE,
    FLOW_WAIT_US,
    LAYOUT_FD,
    LAYOUT_PAGE_BYTES,
    N_DEADLINE_NS,
    N_DEVICE_READS,
    N_MARK_NS,
    N_PENDING,
    N_QUERY,
    N_SHARED,
    N_WANTED,
    PINNED,
)
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

__all__ = ["search_over_ring", "take_late_reads", "worth_waking_for"]

_RING_IS_FULL = -errno.ENOBUFS
_EBUSY = errno.EBUSY
_SHARE_WAITED_FOR = 16
_NO_QUERY = -1
"""As N_QUERY: the query has ended before its reads."""
_GRACE_NS = 100_000_000
"""How long a round may still take once the deadline has passed: reads that hang have not come then."""


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
    """Push the device reads of a round; False if the ring, large enough for all rounds, is full.

    Those are not pushed whose page another query has asked for already.
    """
    work.counters[slot, N_PENDING] = work.counters[slot, N_DEVICE_READS]
    layout = layout_of_round(work, slot)
    for i in range(work.counters[slot, N_WANTED]):
        place = slot * work.wanted.shape[1] + i
        work.retries[slot, i] = 0
        work.read_keys[place] = 0
        if work.wanted_results[slot, i] == PINNED:
            continue
        if not lead_or_follow(work, place, read_key(layout, work.wanted[slot, i])):
            work.counters[slot, N_SHARED] += 1
        elif not _push_page(resident, work, ring, slot, i, 0):
            return False
    return True


@kernel
def _settle_page(resident, work, ring, slot, i, result):  # type: ignore[no-untyped-def]
    """Take in what the ring says of one read; False if its continuation finds the ring full.

    Until the read has ended its place in ``wanted_results`` counts the bytes that have arrived. When it has,
    it has for all that follow it too, and its key is 0.
    """
    page_bytes = resident.parameters[layout_of_round(work, slot) + LAYOUT_PAGE_BYTES]
    if result != page_bytes or work.wanted_results[slot, i] != 0:
        done_bytes = np.int64(work.wanted_results[slot, i])
        start = resume_point(done_bytes)
        if is_transient(result) and work.retries[slot, i] < RETRIES_MAX:
            work.retries[slot, i] += np.uint8(1)
            return _push_page(resident, work, ring, slot, i, start)
        finished, result = settle_read(result, start, done_bytes, page_bytes)
        if not finished:
            work.wanted_results[slot, i] = result
            return _push_page(resident, work, ring, slot, i, resume_point(result))
    end_read(work, slot * work.wanted.shape[1] + i, result, page_bytes)
    return True


@kernel
def worth_waking_for(work):  # type: ignore[no-untyped-def]
    """Completions to wait for at a time.

    No query can go on before as many as the fewest that one lacks. Of many reads in flight a share is waited
    for, since to sleep, to wake and to ring the device takes processor time, however many reads are meant.
    Reads that no query waits for any more do not count: they may hang. One that several wait for counts once.
    """
    fewest = np.int64(0)
    for slot in range(work.counters.shape[0]):
        pending = work.counters[slot, N_PENDING]
        if pending > 0 and work.counters[slot, N_QUERY] != _NO_QUERY:
            fewest = pending if fewest == 0 else min(fewest, pending)
    reads = np.int64(work.read_table[work.read_table.shape[0] - 1])
    return max(1, fewest, reads // _SHARE_WAITED_FOR)


@kernel
def _patience_ns(work, slot):  # type: ignore[no-untyped-def]
    """Until when row ``slot`` waits for its round, on the clock of ``now_ns``; 0: for ever, or not at all."""
    deadline = work.counters[slot, N_DEADLINE_NS]
    if deadline <= 0 or work.counters[slot, N_PENDING] == 0 or work.counters[slot, N_QUERY] == _NO_QUERY:
        return np.int64(0)
    return max(deadline, work.counters[slot, N_MARK_NS]) + _GRACE_NS


@kernel
def _wait_us(work, asked, submitted_ns, now):  # type: ignore[no-untyped-def]
    """Microseconds to wait at most; below 0: no limit. Rounds that are not submitted yet begin ``now``."""
    until = now + asked.flow[FLOW_WAIT_US] * 1000 if asked.flow[FLOW_WAIT_US] >= 0 else np.int64(0)
    for slot in range(work.counters.shape[0]):
        if _patience_ns(work, slot) > 0:
            if work.counters[slot, N_MARK_NS] > submitted_ns:
                work.counters[slot, N_MARK_NS] = now
            patience = _patience_ns(work, slot)
            until = patience if until == 0 else min(until, patience)
    return max(np.int64(0), until - now) // 1000 + 1 if until > 0 else np.int64(-1)


@kernel
def _free(work, slot):  # type: ignore[no-untyped-def]
    """Row ``slot`` is to be had for another query."""
    last = work.free.shape[0] - 1
    work.free[work.free[last]] = slot
    work.free[last] += 1


@kernel
def _free_all(work):  # type: ignore[no-untyped-def]
    """So are all: nothing is in flight."""
    forget_reads(work)
    work.free[work.free.shape[0] - 1] = 0
    for slot in range(work.counters.shape[0]):
        work.counters[slot, N_PENDING] = 0
        _free(work, slot)


@kernel
def _leave_to_device(work, slot, reads):  # type: ignore[no-untyped-def]
    """Row ``slot`` has no query any more, but so many ``reads`` of the device, which may be none."""
    work.counters[slot, N_PENDING] = reads
    work.counters[slot, N_QUERY] = _NO_QUERY
    if reads == 0:
        _free(work, slot)


@kernel
def _is_late(work, slot, now):  # type: ignore[no-untyped-def]
    """Whether row ``slot`` has waited for its round for long enough."""
    until = _patience_ns(work, slot)
    return until > 0 and now >= until


@kernel
def _pass_on_reads(resident, work, ring, slot):  # type: ignore[no-untyped-def]
    """Have pages that others wait for too read for them, not for row ``slot``; False if the ring is full."""
    width = work.wanted.shape[1]
    for place in range(slot * width, slot * width + work.counters[slot, N_WANTED]):
        if work.read_keys[place] == 0:
            continue
        heir = pass_on(work, place)
        if heir >= 0:
            work.counters[heir // width, N_SHARED] -= 1
            if not _push_page(resident, work, ring, heir // width, heir % width, 0):
                return False
    return True


@kernel
def _end_late_queries(resident, work, ring, asked):  # type: ignore[no-untyped-def]
    """End those whose reads hang beyond their deadline; False if the ring is full.

    Their rows are free once the device is done.
    """
    now = now_ns()
    for slot in range(work.counters.shape[0]):
        if _is_late(work, slot, now):
            stop_following(work, slot)  # all of them first: none of them is to be passed a lead
    for slot in range(work.counters.shape[0]):
        if _is_late(work, slot, now):
            own = stop_following(work, slot)
            if not _pass_on_reads(resident, work, ring, slot):
                return False
            end_unread(resident, work, slot, asked)
            _leave_to_device(work, slot, own)
    return True


@kernel
def _begin_queries(resident, work, ring, asked):  # type: ignore[no-untyped-def]
    """Begin queries while there are rows for them; False if the ring is full."""
    last = work.free.shape[0] - 1
    while work.free[last] > 0 and unbegun(asked) > 0:
        slot = work.free[work.free[last] - 1]
        if begin_query(resident, work, slot, asked):
            continue
        work.free[last] -= 1
        if not _push_round(resident, work, ring, slot):
            return False
    return True


@kernel
def _take_late_read(work, slot):  # type: ignore[no-untyped-def]
    """A read has come that no query waited for."""
    work.counters[slot, N_PENDING] -= 1
    if work.counters[slot, N_PENDING] == 0:
        _free(work, slot)


@kernel
def _go_on(resident, work, ring, asked, slot):  # type: ignore[no-untyped-def]
    """Go on with the query of row ``slot`` if its round has been read; False if the ring is full.

    No read ends in here, since none is reaped: its reads may lead or follow others at once.
    """
    if work.counters[slot, N_PENDING] > 0:
        return True
    if go_on_with(resident, work, slot, asked):
        _free(work, slot)
        return True
    return _push_round(resident, work, ring, slot)


@kernel
def _take_completion(resident, work, ring, asked, user_data, result):  # type: ignore[no-untyped-def]
    """Take in what has become of one read, and what follows for its query; False if the ring is full."""
    width = work.wanted.shape[1]
    if work.counters[user_data // width, N_QUERY] == _NO_QUERY:
        _take_late_read(work, user_data // width)
        return True
    if not _settle_page(resident, work, ring, user_data // width, user_data % width, result):
        return False
    if work.read_keys[user_data] != 0:
        return True  # only a piece of it has come
    place = np.int64(user_data)
    while place >= 0:
        # Looked up now: the next round of the row takes the place.
        follower = np.int64(work.read_followers[place]) - 1
        if not _go_on(resident, work, ring, asked, place // width):
            return False
        place = follower
    return True


@kernel
def _submit(work, ring, wait_for, wait_us, refusals):  # type: ignore[no-untyped-def]
    """Submit, and wait for completions; (0 or minus an error number, refusals in a row)."""
    submitted = ring_submit_wait(ring, wait_for, wait_us)
    if submitted >= 0:
        return 0, 0
    if (is_transient(submitted) or submitted == -_EBUSY) and refusals < RETRIES_MAX:
        return 0, refusals + 1
    return submitted, refusals


@kernel
def search_over_ring(resident, work, ring, asked):  # type: ignore[no-untyped-def]
    """Answer queries of ``asked`` until all have ended, or FLOW_ENOUGH; 0, or minus an error number.

    Those that go on have reads in flight afterwards: call again. Once ``asked.stop`` is set, or after an
    error, which is one of the ring itself, none is, unless IN_FLIGHT_COUNT of a ring in trouble says so:
    then the buffers are not the caller's again. Queries that are not answered keep the count that they had.
    A query whose deadline has passed does not wait for reads that hang: those may be in flight when all
    queries have ended, and their rows are of no use until :func:`take_late_reads` has seen them end. A page
    that several queries want at a time is read once.
    """
    refusals = 0
    outcome = 0
    submitted_ns = np.int64(0)
    while asked.stop[0] == 0:
        if not _begin_queries(resident, work, ring, asked):
            outcome = _RING_IS_FULL
            break
        if asked.flow[FLOW_LIVE] == 0 and unbegun(asked) == 0:
            return 0
        if asked.flow[FLOW_ENDED] >= asked.flow[FLOW_ENOUGH]:
            # The device works on while answers are handed out.
            outcome, refusals = _submit(work, ring, 0, -1, refusals)
            if outcome != 0:
                break
            return 0
        now = now_ns()
        wait_us = _wait_us(work, asked, submitted_ns, now)
        submitted_ns = now
        outcome, refusals = _submit(work, ring, worth_waking_for(work), wait_us, refusals)
        if outcome != 0:
            break
        taken = ring_reap(ring, work.reaped, work.reaped_results)
        for c in range(taken):
            if not _take_completion(
                resident, work, ring, asked, work.reaped[c], np.int64(work.reaped_results[c])
            ):
                outcome = _RING_IS_FULL
                break
        if outcome != 0:
            break
        all_seen = taken < work.reaped.shape[0]  # else more have arrived than were looked at
        if wait_us >= 0 and all_seen and not _end_late_queries(resident, work, ring, asked):
            outcome = _RING_IS_FULL
            break
        if taken == 0 and asked.flow[FLOW_WAIT_US] >= 0:
            return 0
    ring_drain(ring, work.reaped, work.reaped_results)
    if ring[IN_FLIGHT_COUNT] == 0:
        _free_all(work)
    return outcome


@kernel
def _drop_queries(work):  # type: ignore[no-untyped-def]
    """Have no query in flight: reads that others wait for too are none of the device."""
    for slot in range(work.counters.shape[0]):
        if work.counters[slot, N_PENDING] > 0 and work.counters[slot, N_QUERY] != _NO_QUERY:
            _leave_to_device(work, slot, stop_following(work, slot))
    forget_reads(work)


@kernel
def take_late_reads(work, ring, wait):  # type: ignore[no-untyped-def]
    """Take reads whose queries have ended without them; how many are left, or minus an error number.

    ``wait``: until none is left. Queries that are in flight are dropped. The error number is one of the ring
    itself.
    """
    _drop_queries(work)
    outcome = ring_submit_wait(ring, ring[IN_FLIGHT_COUNT] if wait else 0, -1)
    while outcome >= 0:
        taken = ring_reap(ring, work.reaped, work.reaped_results)
        for c in range(taken):
            _take_late_read(work, work.reaped[c] // work.wanted.shape[1])
        if taken < work.reaped.shape[0]:
            return ring[IN_FLIGHT_COUNT]
    return outcome
