"""Estimated candidates: from the resident codes of whole pages, and from codes found on pages."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.pool import insert_candidate, place_of
from pageann.index.kernels.route import prefetch_record
from pageann.index.kernels.scan import LANES, score_block, score_bytes, score_factored
from pageann.index.kernels.state import (
    ESTIMATED,
    FAULT_SLOT,
    KEPT_CELLS,
    KIND_BYTES,
    KIND_FACTORED,
    LAYOUT_CAPACITY,
    LAYOUT_REP_CAPACITY,
    LAYOUT_REP_CODES,
    LAYOUT_REP_SLOTS,
    N_CODES,
    N_FRONTIER,
    N_POOL,
    P_CODE_BYTES,
    P_CODE_KIND,
    P_GROUP_SLOTS,
    P_LEVEL_OFFSET,
    P_PAGE_LAYOUT,
    P_REP_BYTES,
    P_ROUTER_BYTES,
    P_ROWS,
    REFINED,
    S_CODE_LOW,
    S_CODE_STEP,
    S_FACTOR_LOW,
    S_FACTOR_STEP,
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

_GROUPS_AHEAD = 2
"""Groups whose codes are fetched ahead: a scan takes 6 to 8 % less time than with one (photosift1m)."""


@kernel(forceinline=True)
def _place(table, key):  # type: ignore[no-untyped-def]
    """Where ``key`` (> 0) is, or would go, in an open-addressing table of a power of two places."""
    mask = table.shape[0] - 1
    at = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)) & mask
    while table[at] != 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@kernel(forceinline=True)
def is_visited(work, slot, page):  # type: ignore[no-untyped-def]
    """Whether the query has asked for ``page``."""
    table = work.visited[slot]
    return table[_place(table, page + 1)] != 0


@kernel(forceinline=True)
def mark_visited(work, slot, page):  # type: ignore[no-untyped-def]
    """Note that the query asks for ``page``."""
    table = work.visited[slot]
    table[_place(table, page + 1)] = page + 1


@kernel
def _scan_groups(  # type: ignore[no-untyped-def]
    codes, kind, rows, tables, group_slots, all_slots, frontier, frontier_scores, frontier_count, low, base,
    step, constant_step, factor_low, factor_step, estimates, scores, slots, states, count,
):  # fmt: skip
    """Offer every vector of the frontier's groups to the pool; returns (candidates, codes scored)."""
    effort = scores.shape[0]
    record_bytes = group_slots * (rows + 1)
    address = np.int64(estimates.ctypes.data)
    scored = 0
    for i in range(min(_GROUPS_AHEAD, frontier_count)):
        prefetch_record(codes + np.int64(frontier[i]) * record_bytes, record_bytes)
    for i in range(frontier_count):
        group = np.int64(frontier[i])
        record = codes + group * record_bytes
        if i + _GROUPS_AHEAD < frontier_count:
            prefetch_record(codes + np.int64(frontier[i + _GROUPS_AHEAD]) * record_bytes, record_bytes)
        offset = frontier_scores[i] + low
        here = min(group_slots, all_slots - group * group_slots)
        for chunk in range(0, here, LANES):
            lanes = min(LANES, group_slots - chunk)
            used = min(lanes, here - chunk)
            limit = np.float32(np.inf)
            if count == effort:
                limit = scores[effort - 1]
            constants = record + rows * lanes
            if kind == KIND_FACTORED:
                below = score_factored(
                    record, lanes, rows - 1, tables, offset, constant_step, base, step, factor_low,
                    factor_step, limit, estimates,
                )  # fmt: skip
            elif kind == KIND_BYTES:
                below = score_bytes(
                    record, lanes, rows, tables, constants, offset, constant_step, step, limit, address
                )
            else:
                below = score_block(
                    record, lanes, rows, tables, constants, offset, constant_step, step, limit, address
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
    base = work.table_scalars[slot, T_CODE, 0]
    low = resident.scalars[S_CODE_LOW]
    if parameters[P_CODE_KIND] != KIND_FACTORED:
        low = base + low
    count, scored = _scan_groups(
        np.int64(resident.page_codes.ctypes.data), parameters[P_CODE_KIND], parameters[P_CODE_BYTES],
        np.int64(work.tables[slot, T_CODE].ctypes.data), parameters[P_GROUP_SLOTS], parameters[P_ROWS],
        work.frontier[slot], work.frontier_scores[slot], counters[N_FRONTIER], low, base,
        work.table_scalars[slot, T_CODE, 1], resident.scalars[S_CODE_STEP], resident.scalars[S_FACTOR_LOW],
        resident.scalars[S_FACTOR_STEP], work.rotated[:LANES],
        work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot], counters[N_POOL],
    )  # fmt: skip
    counters[N_POOL] = count
    counters[N_CODES] += scored


@kernel(forceinline=True)
def _holds(slots, count, candidate):  # type: ignore[no-untyped-def]
    """Whether ``candidate`` is among ``slots[:count]``; vectors do it, since there is no early way out."""
    found = False
    for i in range(count):
        found |= slots[i] == candidate
    return found


@kernel(forceinline=True)
def _offer_refined(scores, slots, states, count, candidate, score, coarse):  # type: ignore[no-untyped-def]
    """A finer estimate takes the place of a ``coarse`` one; one that is there already stays."""
    if coarse:
        if _holds(slots, count, candidate):
            at = 0
            while slots[at] != candidate:
                at += 1
            if states[at] != ESTIMATED:
                return count
            for i in range(at, count - 1):
                scores[i] = scores[i + 1]
                slots[i] = slots[i + 1]
                states[i] = states[i + 1]
            count -= 1
    else:  # the same code has the same estimate wherever it is found
        at = place_of(scores, slots, count, score, candidate)
        if at < count and slots[at] == candidate:
            return count
    return insert_candidate(scores, slots, states, count, score, candidate, np.uint8(REFINED))


@kernel
def _cell_scores(kept, scores, cell, level_codes, rows, tables, base, step):  # type: ignore[no-untyped-def]
    """Where the scores of a cell's 32 coded centroids stand among ``scores``, made anew if they do not.

    Pages that a walk reads tell of the same neighbourhood, so few cells are scored more than once;
    whole cells, since the bytes of one code lie in as many cache lines as those of 32.
    """
    place = cell & (KEPT_CELLS - 1)
    if kept[place] != cell:
        record = level_codes + cell * (rows + 1) * LANES
        score_block(
            record, LANES, rows, tables, record + rows * LANES, base, np.float32(0), step,
            np.float32(np.inf), np.int64(scores.ctypes.data) + 4 * LANES * place,
        )  # fmt: skip
        kept[place] = cell
    return place * LANES


@kernel
def offer_representatives(resident, work, slot, address):  # type: ignore[no-untyped-def]
    """Estimate the vectors of other pages whose codes lie on the page at ``address``; 0 or a fault."""
    parameters = resident.parameters
    count = np.int64(load_u16(address + REP_COUNT_OFFSET))
    layout = P_PAGE_LAYOUT
    rows = parameters[P_REP_BYTES]
    all_rows = parameters[P_ROWS]
    capacity = parameters[layout + LAYOUT_CAPACITY]
    group_slots = parameters[P_GROUP_SLOTS]
    rep_capacity = parameters[layout + LAYOUT_REP_CAPACITY]
    slots_at = address + parameters[layout + LAYOUT_REP_SLOTS]
    record = address + parameters[layout + LAYOUT_REP_CODES]
    tables = np.int64(work.tables[slot, T_REP].ctypes.data)
    base = work.table_scalars[slot, T_REP, 0] + resident.scalars[S_REP_LOW]
    step = work.table_scalars[slot, T_REP, 1]
    constant_step = resident.scalars[S_REP_STEP]
    estimates = work.rotated[:LANES]
    coarse = parameters[P_CODE_BYTES] > 0
    kept, offsets = work.kept_cells[slot], work.kept_scores[slot]
    level_codes = np.int64(resident.router_codes.ctypes.data) + parameters[P_LEVEL_OFFSET]
    router_rows = parameters[P_ROUTER_BYTES]
    router_tables = np.int64(work.tables[slot, T_ROUTER].ctypes.data)
    router_base = work.table_scalars[slot, T_ROUTER, 0]
    router_step = work.table_scalars[slot, T_ROUTER, 1]
    scores, slots, states = work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot]
    effort = scores.shape[0]
    pool = work.counters[slot, N_POOL]
    # Slots ascend, so vectors of one group, and of one page, stand side by side.
    group_first, group_end = np.int64(0), np.int64(0)
    page_first, page_end = np.int64(0), np.int64(0)
    offset = np.float32(0)
    read = False
    for chunk in range(0, count, LANES):
        lanes = min(LANES, rep_capacity - chunk)
        score_block(
            record, lanes, rows, tables, record + rows * lanes, base, constant_step, step,
            np.float32(np.inf), np.int64(estimates.ctypes.data),
        )  # fmt: skip
        for lane in range(min(lanes, count - chunk)):
            candidate = np.int64(load_u32(slots_at + 4 * (chunk + lane)))
            if candidate >= all_rows:
                return FAULT_SLOT
            if candidate < page_first or candidate >= page_end:
                page = candidate // capacity
                page_first = page * capacity
                page_end = page_first + capacity
                read = is_visited(work, slot, page)
            if read:
                continue
            if candidate < group_first or candidate >= group_end:
                group = candidate // group_slots
                group_first = group * group_slots
                group_end = group_first + group_slots
                cell = group // LANES
                at = _cell_scores(
                    kept, offsets, cell, level_codes, router_rows, router_tables, router_base, router_step
                )
                offset = offsets[at + group - cell * LANES]
            score = offset + estimates[lane]
            if pool == effort and score >= scores[effort - 1] and not coarse:
                continue
            pool = _offer_refined(scores, slots, states, pool, candidate, score, coarse)
        record += (rows + 1) * lanes
    work.counters[slot, N_POOL] = pool
    work.counters[slot, N_CODES] += count
    return 0
