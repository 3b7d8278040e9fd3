"""The step machine: a query from its start, through rounds of page reads, to its answer.

    start_query -> (plan has wanted pages) -> read them -> absorb_round -> ... -> PHASE_DONE

The machine knows nothing of files, threads or asyncio: after ``start_query`` and after each
``absorb_round`` the row of ``wanted`` says which pages it needs and ``wanted_addresses`` where their
bytes belong; a page that is pinned already has an address of its own. Pages of a round are absorbed
in the order of ``wanted``, so answers do not depend on the driver.

One pool of the best candidates mixes exact distances with estimates. Where all estimates come from
resident codes, the search goes on while one beats the k-th best exact distance by a margin of so many
typical errors of the code. Where pages bring finer ones, it goes on while the pool of ``effort``
candidates holds any that might better it, or for as many pages as the effort grants.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.candidates import is_visited, mark_visited, offer_representatives, scan_pages
from pageann.index.kernels.clock import now_ns
from pageann.index.kernels.copies import cover_candidates, forget_visited, fuller_page, weigh_candidates
from pageann.index.kernels.distance import exact_value, scalar_quantised_value
from pageann.index.kernels.pool import holds_result, insert_candidate, insert_result
from pageann.index.kernels.query import load_query
from pageann.index.kernels.route import prefetch_record, route_query
from pageann.index.kernels.state import (
    CALL_EFFORT,
    CALL_FIRST_WIDTH,
    CALL_INTEGRAL,
    CALL_MAX_READS,
    CALL_NEXT_WIDTH,
    CALL_RERANK,
    CALL_STRICTNESS,
    CALL_WALK_PAGES,
    EXACT,
    FAULT_READ,
    FAULT_ROW,
    GONE,
    LAYOUT_CAPACITY,
    LAYOUT_LINKS,
    LAYOUT_PAGE_BYTES,
    LAYOUT_REP_CAPACITY,
    LAYOUT_REP_SLOTS,
    LAYOUT_ROW_BYTES,
    LAYOUT_ROWS,
    LAYOUT_TAG,
    LAYOUT_VECTOR_BYTES,
    LAYOUT_VECTORS,
    N_BYTES,
    N_DEADLINE_NS,
    N_DEVICE_READS,
    N_EXCLUDED_ROW,
    N_FAULT,
    N_FAULT_FILE,
    N_FAULT_PAGE,
    N_FRONTIER,
    N_FRONTIER_AT,
    N_HALF_UNITS,
    N_HOPS,
    N_MARK_NS,
    N_PHASE,
    N_PINNED,
    N_POOL,
    N_QUERY,
    N_READ_NS,
    N_READS,
    N_RERANK_AT,
    N_ROUTE_NS,
    N_SCAN_NS,
    N_START_NS,
    N_STOP,
    N_TOP,
    N_WANTED,
    P_CODE_BYTES,
    P_COPY_BYTES,
    P_DIM,
    P_DTYPE,
    P_EXACT_LAYOUT,
    P_GROUP_PAGES,
    P_METRIC,
    P_PAGE_COUNT,
    P_PAGE_LAYOUT,
    P_PINNED_PAGES,
    P_QUANTISED,
    P_REP_BYTES,
    P_RERANK,
    P_ROWS,
    PHASE_DONE,
    PHASE_RERANK,
    PHASE_WALK,
    PINNED,
    Q_FIRST_LIMIT,
    Q_INVERSE_NORM,
    Q_LIMIT,
    Q_NAV_FACTOR,
    Q_NAV_SQUARE,
    Q_NAV_TERM,
    Q_QUANTISED_TERM,
    S_CODE_ERROR,
    STOP_CONVERGED,
    STOP_DEADLINE,
    STOP_EXHAUSTED,
    STOP_MAX_READS,
)
from pageann.jit import kernel
from pageann.storage.format import VECTOR_COUNT_OFFSET
from pageann.storage.memory import load_u16, load_u32, load_u64
from pageann.storage.pages import check_counts, check_page

__all__ = ["absorb_round", "start_query"]

_IP = 1
_HOPE = np.float32(2.6)
"""Typical errors by which the k-th best estimate undershoots the k-th best distance."""
_SHORT_WIDTH = 4
"""Pages of a round that only fills up the answer."""
RECORD_KEY = 1 << 40
"""Added to the numbers of exact records in the table of what was asked for."""
_LINK_BYTES = 4


@kernel(forceinline=True)
def _want(resident, work, slot, layout, page):  # type: ignore[no-untyped-def]
    """Add a page to the round: from memory where it is pinned, else as a device read."""
    counters = work.counters[slot]
    at = counters[N_WANTED]
    work.wanted[slot, at] = page
    work.wanted_results[slot, at] = 0
    counters[N_WANTED] = at + 1
    parameters = resident.parameters
    page_bytes = parameters[layout + LAYOUT_PAGE_BYTES]
    pinnable = layout == P_PAGE_LAYOUT and page < parameters[P_PAGE_COUNT]  # pages of copies are not
    if pinnable and parameters[P_PINNED_PAGES] > 0 and resident.pin_index[page] >= 0:
        place = np.int64(resident.pin_index[page]) * page_bytes
        work.wanted_addresses[slot, at] = np.int64(resident.pinned.ctypes.data) + place
        work.wanted_results[slot, at] = PINNED
        counters[N_PINNED] += 1
        return
    work.wanted_addresses[slot, at] = work.buffers[slot, at]
    counters[N_DEVICE_READS] += 1
    counters[N_READS] += 1
    counters[N_BYTES] += page_bytes
    counters[N_HALF_UNITS] += 1 + page_bytes // 4096


@kernel
def _typical_error(error, near, dim):  # type: ignore[no-untyped-def]
    """Standard deviation of an estimate at distance ``near``, of codes with that mean squared error.

    The error vector is taken to point anywhere: its product with the difference to the query has the
    variance ``near * error / dim``, and counts twice.
    """
    return np.float32(2) * np.sqrt(max(near, error) * error / np.float32(dim))


@kernel(forceinline=True)
def _kth_of_all(scores, pool, enough):  # type: ignore[no-untyped-def]
    """The k-th best of all that is known or estimated."""
    return scores[enough - 1] if pool >= enough else np.float32(np.inf)


@kernel
def _limit(  # type: ignore[no-untyped-def]
    scores, states, pool, enough, effort, first, strictness, error, square, dim
):
    """Up to which estimate a page is worth its read.

    The k-th best exact distance decides, less ``strictness`` typical errors. Where so many are not known yet,
    or those that are merely lie on the pages read, the k-th best of all that is known or estimated stands for
    it, which the search for the best has made too low. In the first round as many of the best as the effort
    says are looked at in any case.
    """
    near = _kth_of_all(scores, pool, enough)
    typical = _typical_error(error, near if square == 0.0 else np.float32(square), dim)
    found = 0
    limit = np.float32(np.inf)
    for i in range(pool):
        if states[i] == EXACT:
            found += 1
            if found == enough:
                limit = scores[i]
                break
    limit = min(limit, near + _HOPE * typical)  # what merely lies on the pages read may be far off
    if limit < np.float32(np.inf):
        limit -= strictness * typical
        if found < enough and first:
            limit = max(limit, scores[min(effort, enough) - 1])
    return limit


@kernel
def _plan_walk(resident, work, slot, width):  # type: ignore[no-untyped-def]
    """Want up to ``width`` pages, best first, from the pool and from the router's frontier."""
    counters = work.counters[slot]
    parameters = resident.parameters
    layout = P_PAGE_LAYOUT
    capacity = parameters[layout + LAYOUT_CAPACITY]
    group_pages = parameters[P_GROUP_PAGES]
    scores, states = work.pool_scores[slot], work.pool_states[slot]
    pool = counters[N_POOL]
    # A low effort may run out of candidates before there are k results: any near page will do then.
    enough = min(work.top_rows.shape[1], parameters[P_ROWS])
    begun = counters[N_READS] + counters[N_PINNED] > 0
    short = begun and counters[N_TOP] < enough and parameters[P_RERANK] == 0
    ranked = parameters[P_CODE_BYTES] == 0
    by_margin = not ranked and parameters[P_REP_BYTES] == 0
    by_margin = by_margin and work.call[CALL_EFFORT] < parameters[P_ROWS]  # all rows were asked for
    limit = np.float32(np.inf)
    most = limit
    square = 0.0
    if parameters[P_METRIC] == _IP:
        square = work.query_scalars[slot, Q_NAV_SQUARE]
    if pool == scores.shape[0] and not short:
        limit = scores[pool - 1]
    if by_margin and not short:
        most = _limit(
            scores, states, pool, enough, work.call[CALL_EFFORT], not begun,
            np.float32(work.call[CALL_STRICTNESS]) / np.float32(1000), resident.scalars[S_CODE_ERROR],
            square, parameters[P_DIM],
        )  # fmt: skip
        # What the first round may read is read whatever its width, so that recall does not hang on that.
        if begun:
            most = max(most, np.float32(work.query_scalars[slot, Q_FIRST_LIMIT]))
        else:
            work.query_scalars[slot, Q_FIRST_LIMIT] = most
    work.query_scalars[slot, Q_LIMIT] = min(limit, most)
    at = 0
    most_reads = work.call[CALL_MAX_READS]
    if parameters[P_RERANK] != 0:
        most_reads -= min(work.call[CALL_RERANK], most_reads // 2)
    # What is left of the table is for exact records; an open-addressing table must never be full.
    most_pages = work.visited.shape[1] // 4 * 3
    if short:
        width = min(width, _SHORT_WIDTH)
    else:
        most_pages = min(most_pages, work.call[CALL_WALK_PAGES])
    copies = by_margin and parameters[P_COPY_BYTES] > 0
    weighed = 0
    if copies:
        spread = _kth_of_all(scores, pool, enough) if square == 0.0 else np.float32(square)
        typical = _typical_error(resident.scalars[S_CODE_ERROR], spread, parameters[P_DIM])
        weighed = weigh_candidates(resident, work, slot, most, typical)
    while counters[N_WANTED] < width and counters[N_READS] < most_reads:
        if counters[N_READS] + counters[N_PINNED] >= most_pages:
            return
        while at < pool and (states[at] == EXACT or (at < weighed and work.pool_weights[at] == 0)):
            at += 1
        if at < pool and scores[at] > most:
            at = pool
        next_page = np.int64(-1)
        head = counters[N_FRONTIER_AT] // group_pages
        if (ranked or (short and at >= pool)) and head < counters[N_FRONTIER]:
            score = work.frontier_scores[slot, head]
            if score < limit and (at >= pool or score < scores[at]):
                within = counters[N_FRONTIER_AT] - head * group_pages
                next_page = np.int64(work.frontier[slot, head]) * group_pages + within
                counters[N_FRONTIER_AT] += 1
                if next_page >= parameters[P_PAGE_COUNT]:
                    continue
        if next_page < 0:
            if at >= pool:
                return
            next_page = work.pool_slots[slot, at] // capacity
            if copies:
                next_page = fuller_page(work, at, weighed)
                cover_candidates(work, at, weighed, next_page)
            at += 1
        if not is_visited(work, slot, next_page):
            mark_visited(work, slot, next_page)
            _want(resident, work, slot, layout, next_page)
    if counters[N_WANTED] == 0 and parameters[P_RERANK] != 0:
        counters[N_STOP] = STOP_MAX_READS


@kernel
def _plan_rerank(resident, work, slot, width):  # type: ignore[no-untyped-def]
    """Want the exact records of the best vectors found on quantised pages."""
    counters = work.counters[slot]
    layout = P_EXACT_LAYOUT
    capacity = resident.parameters[layout + LAYOUT_CAPACITY]
    limit = min(counters[N_POOL], work.call[CALL_RERANK])
    while (
        counters[N_RERANK_AT] < limit
        and counters[N_WANTED] < width
        and counters[N_READS] < work.call[CALL_MAX_READS]
    ):
        at = counters[N_RERANK_AT]
        counters[N_RERANK_AT] = at + 1
        if work.pool_states[slot, at] != EXACT:
            limit = min(counters[N_POOL], limit + 1)
            continue
        record = work.pool_slots[slot, at] // capacity
        if not is_visited(work, slot, RECORD_KEY + record):
            mark_visited(work, slot, RECORD_KEY + record)
            _want(resident, work, slot, layout, record)


@kernel
def _finish(resident, work, slot, now):  # type: ignore[no-untyped-def]
    counters = work.counters[slot]
    counters[N_PHASE] = PHASE_DONE
    if counters[N_STOP] == STOP_CONVERGED:
        if counters[N_READS] >= work.call[CALL_MAX_READS]:
            counters[N_STOP] = STOP_MAX_READS
        elif counters[N_POOL] < work.pool_scores.shape[1] and counters[N_READS] + counters[N_PINNED] > 0:
            for i in range(counters[N_POOL]):
                if work.pool_states[slot, i] != EXACT:
                    return
            counters[N_STOP] = STOP_EXHAUSTED


@kernel
def _plan(resident, work, slot):  # type: ignore[no-untyped-def]
    """Choose the next round, or finish."""
    counters = work.counters[slot]
    counters[N_WANTED] = 0
    counters[N_DEVICE_READS] = 0
    if counters[N_DEADLINE_NS] == GONE:
        counters[N_STOP] = STOP_DEADLINE
        counters[N_PHASE] = PHASE_DONE
        return
    now = now_ns()
    late = counters[N_DEADLINE_NS] > 0 and now >= counters[N_DEADLINE_NS]
    if late and counters[N_HOPS] > 0:
        counters[N_STOP] = STOP_DEADLINE
        if resident.parameters[P_RERANK] == 0 or counters[N_TOP] > 0:
            counters[N_PHASE] = PHASE_DONE
            return
        counters[N_PHASE] = PHASE_RERANK  # one round of exact records, without which there is no answer
    if counters[N_PHASE] == PHASE_WALK:
        width = work.call[CALL_FIRST_WIDTH] if counters[N_HOPS] == 0 else work.call[CALL_NEXT_WIDTH]
        _plan_walk(resident, work, slot, width)
        if counters[N_WANTED] == 0:
            if resident.parameters[P_RERANK] == 0:
                _finish(resident, work, slot, now)
            else:
                counters[N_PHASE] = PHASE_RERANK
    if counters[N_PHASE] == PHASE_RERANK:
        _plan_rerank(resident, work, slot, work.call[CALL_NEXT_WIDTH])
        if counters[N_WANTED] == 0:
            _finish(resident, work, slot, now)
    if counters[N_DEVICE_READS] > 0:
        counters[N_HOPS] += 1
    counters[N_MARK_NS] = now


@kernel
def start_query(resident, work, slot, number, queries, excluded, outputs):  # type: ignore[no-untyped-def]
    """Begin query ``number`` in row ``slot``: route, scan what is resident, plan the first round.

    Of the rows ``number`` of float32 ``queries`` (q, dim), of ``excluded`` int64 (q,) and of ``outputs``
    int64 (q, COUNTER_COUNT) come the query, the row that is no answer to it or -1, and its deadline.
    """
    counters = work.counters[slot]
    for i in range(counters.shape[0]):
        counters[i] = 0
    counters[N_QUERY] = number
    counters[N_EXCLUDED_ROW] = excluded[number]
    counters[N_DEADLINE_NS] = outputs[number, N_DEADLINE_NS]
    for i in range(work.visited.shape[1]):
        work.visited[slot, i] = 0
    begin = now_ns()
    counters[N_START_NS] = begin
    load_query(resident, work, slot, queries[number])
    route_query(resident, work, slot)
    routed = now_ns()
    counters[N_ROUTE_NS] = routed - begin
    if resident.parameters[P_CODE_BYTES] > 0:
        scan_pages(resident, work, slot)
    counters[N_SCAN_NS] = now_ns() - routed
    _plan(resident, work, slot)


@kernel
def _forget_estimates(work, slot, capacity, page):  # type: ignore[no-untyped-def]
    """Drop the estimates of vectors of ``page``, which are about to be known exactly."""
    scores = work.pool_scores[slot]
    slots = work.pool_slots[slot]
    states = work.pool_states[slot]
    count = work.counters[slot, N_POOL]
    first = page * capacity
    last = first + capacity
    kept = 0
    for i in range(count):
        if slots[i] < first or slots[i] >= last:
            if kept != i:
                scores[kept] = scores[i]
                slots[kept] = slots[i]
                states[kept] = states[i]
            kept += 1
    work.counters[slot, N_POOL] = kept


@kernel
def _absorb_exact(resident, work, slot, layout, page, address, into_pool):  # type: ignore[no-untyped-def]
    """Exact distances of all vectors of a page, into the results and (walk) into the pool; 0 or a fault."""
    parameters = resident.parameters
    counters = work.counters[slot]
    dim = parameters[P_DIM]
    capacity = parameters[layout + LAYOUT_CAPACITY]
    vector_bytes = parameters[layout + LAYOUT_VECTOR_BYTES]
    rows_at = address + parameters[layout + LAYOUT_ROWS]
    vectors_at = address + parameters[layout + LAYOUT_VECTORS]
    wide_rows = parameters[layout + LAYOUT_ROW_BYTES] == 8
    factor = work.query_scalars[slot, Q_NAV_FACTOR]
    term = work.query_scalars[slot, Q_NAV_TERM]
    integral = work.call[CALL_INTEGRAL] != 0
    copies = parameters[P_COPY_BYTES] > 0
    for i in range(np.int64(load_u16(address + VECTOR_COUNT_OFFSET))):
        value = exact_value(
            vectors_at + i * vector_bytes, dim, parameters[P_DTYPE], parameters[P_METRIC], integral,
            work.query[slot], work.query_integer[slot], work.query_scalars[slot, Q_INVERSE_NORM],
        )  # fmt: skip
        row = np.int64(load_u64(rows_at + 8 * i)) if wide_rows else np.int64(load_u32(rows_at + 4 * i))
        if row < 0 or row >= parameters[P_ROWS]:
            return FAULT_ROW
        if row == counters[N_EXCLUDED_ROW]:
            continue
        if copies and holds_result(
            work.top_distances[slot], work.top_rows[slot], counters[N_TOP], value, row
        ):
            continue  # read with the other page that has it
        vector_slot = page * capacity + i
        counters[N_TOP] = insert_result(
            work.top_distances[slot], work.top_rows[slot], work.top_slots[slot], counters[N_TOP],
            value, row, vector_slot,
        )  # fmt: skip
        if into_pool:
            counters[N_POOL] = insert_candidate(
                work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot], counters[N_POOL],
                np.float32(value * factor + term), vector_slot, np.uint8(EXACT),
            )  # fmt: skip
    return 0


@kernel
def _absorb_quantised(resident, work, slot, layout, page, address):  # type: ignore[no-untyped-def]
    """Near-exact scores of all vectors of a page of quantised vectors, into the pool."""
    parameters = resident.parameters
    counters = work.counters[slot]
    dim = parameters[P_DIM]
    vectors_at = address + parameters[layout + LAYOUT_VECTORS]
    term = np.float32(work.query_scalars[slot, Q_QUANTISED_TERM])
    for i in range(np.int64(load_u16(address + VECTOR_COUNT_OFFSET))):
        score = term + scalar_quantised_value(
            vectors_at + i * parameters[layout + LAYOUT_VECTOR_BYTES], dim, parameters[P_METRIC],
            work.quantised[slot, :dim], work.quantised[slot, dim:],
        )  # fmt: skip
        counters[N_POOL] = insert_candidate(
            work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot], counters[N_POOL],
            score, page * parameters[layout + LAYOUT_CAPACITY] + i, np.uint8(EXACT),
        )  # fmt: skip


@kernel
def _check(resident, work, slot, layout, i):  # type: ignore[no-untyped-def]
    """0 if page ``i`` of the round arrived whole and sound; pinned pages were checked when pinned.

    A sound page of a faulty writer must not lead out of bounds either, so counts are held against
    the places of the page and, on the last page, against the vectors that are left.
    """
    parameters = resident.parameters
    result = np.int64(work.wanted_results[slot, i])
    if result == PINNED:
        return 0
    page_bytes = parameters[layout + LAYOUT_PAGE_BYTES]
    if result != page_bytes:
        return FAULT_READ + (-result if result < 0 else 0)
    tag = np.uint64(parameters[layout + LAYOUT_TAG])
    page = work.wanted[slot, i]
    fault = check_page(work.wanted_addresses[slot, i], page_bytes, page, tag)
    if fault != 0:
        return fault
    capacity = parameters[layout + LAYOUT_CAPACITY]
    places = capacity  # a page of copies is full
    if page < parameters[P_PAGE_COUNT] or parameters[P_COPY_BYTES] == 0:
        places = min(capacity, parameters[P_ROWS] - page * capacity)
    links = (parameters[layout + LAYOUT_REP_SLOTS] - parameters[layout + LAYOUT_LINKS]) // _LINK_BYTES
    return check_counts(
        work.wanted_addresses[slot, i], places, links, parameters[layout + LAYOUT_REP_CAPACITY],
    )  # fmt: skip


@kernel
def _absorb_walked(resident, work, slot, page, address):  # type: ignore[no-untyped-def]
    """Take in a page of the walk: its vectors, then what it tells of other pages; 0 or a fault."""
    parameters = resident.parameters
    layout = P_PAGE_LAYOUT
    fault = 0
    if parameters[P_COPY_BYTES] == 0:
        _forget_estimates(work, slot, parameters[layout + LAYOUT_CAPACITY], page)
    if parameters[P_QUANTISED] != 0:
        _absorb_quantised(resident, work, slot, layout, page, address)
    else:
        fault = _absorb_exact(resident, work, slot, layout, page, address, True)
    if fault == 0 and parameters[P_REP_BYTES] > 0:
        fault = offer_representatives(resident, work, slot, address)
    return fault


@kernel
def absorb_round(resident, work, slot):  # type: ignore[no-untyped-def]
    """Take in the pages of the round in order, then plan the next; a bad page ends the query."""
    counters = work.counters[slot]
    arrived = now_ns()
    counters[N_READ_NS] += arrived - counters[N_MARK_NS]
    walking = counters[N_PHASE] == PHASE_WALK
    layout = P_PAGE_LAYOUT if walking else P_EXACT_LAYOUT
    page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
    if resident.parameters[P_COPY_BYTES] > 0:
        forget_visited(resident, work, slot)
    for i in range(counters[N_WANTED]):
        page = work.wanted[slot, i]
        address = work.wanted_addresses[slot, i]
        if i + 1 < counters[N_WANTED]:
            prefetch_record(work.wanted_addresses[slot, i + 1], page_bytes)
        fault = _check(resident, work, slot, layout, i)
        if fault == 0 and walking:
            fault = _absorb_walked(resident, work, slot, page, address)
        elif fault == 0:
            fault = _absorb_exact(resident, work, slot, layout, page, address, False)
        if fault != 0:
            counters[N_FAULT] = fault
            counters[N_FAULT_PAGE] = page
            counters[N_FAULT_FILE] = layout
            counters[N_PHASE] = PHASE_DONE
            counters[N_WANTED] = 0
            return
    counters[N_SCAN_NS] += now_ns() - arrived
    _plan(resident, work, slot)
