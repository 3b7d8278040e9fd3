"""Estimated candidates: from the resident codes of whole pages, and from codes found on pages."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.pool import insert_candidate
from pageann.index.kernels.route import prefetch_record
from pageann.index.kernels.scan import LANES, lookup_one, score_block
from pageann.index.kernels.state import (
    ESTIMATED,
    FAULT_SLOT,
    LAYOUT_CAPACITY,
    LAYOUT_REP_CAPACITY,
    LAYOUT_REP_CODES,
    LAYOUT_REP_SLOTS,
    N_CODES,
    N_FRONTIER,
    N_POOL,
    P_CODE_BYTES,
    P_GROUP_SLOTS,
    P_LEVEL_OFFSET,
    P_PAGE_LAYOUT,
    P_REP_BYTES,
    P_ROUTER_BYTES,
    P_ROWS,
    REFINED,
    S_CODE_LOW,
    S_CODE_STEP,
    S_REP_LOW,
    S_REP_STEP,
    T_CODE,
    T_REP,
    T_ROUTER,
)
from pageann.jit import kernel
from pageann.storage.format import REP_COUNT_OFFSET
from pageann.storage.memory import load_u16, load_u32

__all__ = ["is_visited", "mark_visited", "offer_representatives", "scan_pages"]


@kernel
def _place(table, key):  # type: ignore[no-untyped-def]
    """Where ``key`` (> 0) is, or would go, in an open-addressing table of a power of two places."""
    mask = table.shape[0] - 1
    at = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)) & mask
    while table[at] != 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@kernel
def is_visited(work, slot, page):  # type: ignore[no-untyped-def]
    """Whether the query has asked for ``page``."""
    table = work.visited[slot]
    return table[_place(table, page + 1)] != 0


@kernel
def mark_visited(work, slot, page):  # type: ignore[no-untyped-def]
    """Note that the query asks for ``page``."""
    table = work.visited[slot]
    table[_place(table, page + 1)] = page + 1


@kernel
def _scan_groups(  # type: ignore[no-untyped-def]
    codes, rows, tables, group_slots, all_slots, frontier, frontier_scores, frontier_count, base, step,
    constant_step, estimates, scores, slots, states, count,
):  # fmt: skip
    """Offer every vector of the frontier's groups to the pool; returns (candidates, codes scored)."""
    effort = scores.shape[0]
    record_bytes = group_slots * (rows + 1)
    address = np.int64(estimates.ctypes.data)
    scored = 0
    for i in range(frontier_count):
        group = np.int64(frontier[i])
        record = codes + group * record_bytes
        if i + 1 < frontier_count:
            prefetch_record(codes + np.int64(frontier[i + 1]) * record_bytes, record_bytes)
        offset = frontier_scores[i] + base
        here = min(group_slots, all_slots - group * group_slots)
        for chunk in range(0, here, LANES):
            lanes = min(LANES, group_slots - chunk)
            used = min(lanes, here - chunk)
            limit = np.float32(np.inf)
            if count == effort:
                limit = scores[effort - 1]
            below = score_block(
                record,
                lanes,
                rows,
                tables,
                record + rows * lanes,
                offset,
                constant_step,
                step,
                limit,
                address,
            )
            below &= (np.int64(1) << used) - 1
            lane = 0
            while below != 0:
                if below & 1:
                    count = insert_candidate(
                        scores, slots, states, count, estimates[lane], group * group_slots + chunk + lane,
                        np.uint8(ESTIMATED),
                    )  # fmt: skip
                below >>= 1
                lane += 1
            record += (rows + 1) * lanes
        scored += here
    return count, scored


@kernel
def scan_pages(resident, work, slot):  # type: ignore[no-untyped-def]
    """Put the best estimates of all vectors of the frontier's groups into the pool."""
    parameters = resident.parameters
    counters = work.counters[slot]
    # With codes resident, ranks of groups have no bias: they are the score of the centroid.
    base = work.table_scalars[slot, T_CODE, 0] + resident.scalars[S_CODE_LOW]
    count, scored = _scan_groups(
        np.int64(resident.page_codes.ctypes.data), parameters[P_CODE_BYTES],
        np.int64(work.tables[slot, T_CODE].ctypes.data), parameters[P_GROUP_SLOTS], parameters[P_ROWS],
        work.frontier[slot], work.frontier_scores[slot], counters[N_FRONTIER], base,
        work.table_scalars[slot, T_CODE, 1], resident.scalars[S_CODE_STEP], work.rotated[:LANES],
        work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot], counters[N_POOL],
    )  # fmt: skip
    counters[N_POOL] = count
    counters[N_CODES] += scored


@kernel
def _offer_refined(work, slot, candidate, score):  # type: ignore[no-untyped-def]
    """A finer estimate takes the place of a coarse one; other copies stay."""
    scores = work.pool_scores[slot]
    slots = work.pool_slots[slot]
    states = work.pool_states[slot]
    count = work.counters[slot, N_POOL]
    for i in range(count):
        if slots[i] == candidate:
            if states[i] != ESTIMATED:
                return
            for j in range(i, count - 1):
                scores[j] = scores[j + 1]
                slots[j] = slots[j + 1]
                states[j] = states[j + 1]
            count -= 1
            break
    work.counters[slot, N_POOL] = insert_candidate(
        scores, slots, states, count, score, candidate, np.uint8(REFINED)
    )


@kernel
def offer_representatives(resident, work, slot, address):  # type: ignore[no-untyped-def]
    """Estimate the vectors of other pages whose codes lie on the page at ``address``; 0 or a fault."""
    parameters = resident.parameters
    count = np.int64(load_u16(address + REP_COUNT_OFFSET))
    layout = P_PAGE_LAYOUT
    rows = parameters[P_REP_BYTES]
    capacity = parameters[layout + LAYOUT_CAPACITY]
    group_slots = parameters[P_GROUP_SLOTS]
    rep_capacity = parameters[layout + LAYOUT_REP_CAPACITY]
    slots_at = address + parameters[layout + LAYOUT_REP_SLOTS]
    record = address + parameters[layout + LAYOUT_REP_CODES]
    tables = np.int64(work.tables[slot, T_REP].ctypes.data)
    base = work.table_scalars[slot, T_REP, 0] + resident.scalars[S_REP_LOW]
    step = work.table_scalars[slot, T_REP, 1]
    constant_step = resident.scalars[S_REP_STEP]
    totals = work.rotated[:LANES]
    coarse = parameters[P_CODE_BYTES] > 0
    router_rows = parameters[P_ROUTER_BYTES]
    router_codes = np.int64(resident.router_codes.ctypes.data) + parameters[P_LEVEL_OFFSET]
    router_tables = np.int64(work.tables[slot, T_ROUTER].ctypes.data)
    router_base = work.table_scalars[slot, T_ROUTER, 0]
    router_step = work.table_scalars[slot, T_ROUTER, 1]
    effort = work.pool_scores.shape[1]
    # Slots ascend, so vectors of one group, and of one page, stand side by side.
    last_group, last_page = np.int64(-1), np.int64(-1)
    offset = np.float32(0)
    read = False
    for chunk in range(0, count, LANES):
        lanes = min(LANES, rep_capacity - chunk)
        score_block(
            record, lanes, rows, tables, record + rows * lanes, np.float32(0), constant_step, step,
            np.float32(np.inf), np.int64(totals.ctypes.data),
        )  # fmt: skip
        for lane in range(min(lanes, count - chunk)):
            candidate = np.int64(load_u32(slots_at + 4 * (chunk + lane)))
            if candidate >= parameters[P_ROWS]:
                return FAULT_SLOT
            group = candidate // group_slots
            if group != last_group:
                last_group = group
                codes = router_codes + (group // LANES) * (router_rows + 1) * LANES + group % LANES
                total = lookup_one(codes, LANES, router_rows, router_tables)
                offset = base + router_base + router_step * np.float32(total)
            score = offset + totals[lane]
            full = work.counters[slot, N_POOL] == effort
            if full and score >= work.pool_scores[slot, effort - 1] and not coarse:
                continue
            page = candidate // capacity
            if page != last_page:
                last_page = page
                read = is_visited(work, slot, page)
            if not read:
                _offer_refined(work, slot, candidate, score)
        record += (rows + 1) * lanes
    work.counters[slot, N_CODES] += count
    return 0
