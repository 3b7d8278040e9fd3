"""The router: from the query to the groups of pages whose coded centroids are nearest.

Levels of groups of 32: unit j of level l + 1 stands for units 32 j .. 32 j + 31 of level l, and the
units of level 0 are groups of pages (often of one). Only what lies below the best of a level is scored.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.pool import select_smallest, sort_pairs
from pageann.index.kernels.scan import LANES, MAX_BLOCK_ROWS, lookup_block, lookup_one
from pageann.index.kernels.state import (
    CALL_CELLS,
    CALL_SCAN_GROUPS,
    N_CODES,
    N_FRONTIER,
    N_FRONTIER_AT,
    P_LEVEL_OFFSET,
    P_LEVEL_UNITS,
    P_ROUTER_BYTES,
    P_START_LEVEL,
    S_BIAS_STEP,
    T_ROUTER,
)
from pageann.jit import kernel

__all__ = ["LEAST_CELLS", "block_sums", "group_score", "route_query"]

LEAST_CELLS = 16
"""Units of a level above the first below which the search goes on, at least."""


@kernel
def block_sums(codes, stride, rows, tables, work, totals):  # type: ignore[no-untyped-def]
    """Sums of 32 lanes of any number of rows into ``totals`` float32 (32,)."""
    sums_address = np.int64(work.sums.ctypes.data)
    done = min(rows, MAX_BLOCK_ROWS)
    lookup_block(codes, stride, done, tables, sums_address)
    for lane in range(LANES):
        totals[lane] = np.float32(work.sums[lane])
    while done < rows:
        more = min(rows - done, MAX_BLOCK_ROWS)
        lookup_block(codes + done * stride, stride, more, tables + done * 64, sums_address)
        for lane in range(LANES):
            totals[lane] += np.float32(work.sums[lane])
        done += more


@kernel
def _score_group(resident, work, slot, level, group, at):  # type: ignore[no-untyped-def]
    """Append the scores of one group of a level at ``at``; returns the new end."""
    parameters = resident.parameters
    rows = parameters[P_ROUTER_BYTES]
    codes = np.int64(resident.router_codes.ctypes.data) + parameters[P_LEVEL_OFFSET + level]
    codes += group * (rows + 1) * LANES
    tables = np.int64(work.tables[slot, T_ROUTER].ctypes.data)
    base = work.table_scalars[slot, T_ROUTER, 0]
    step = work.table_scalars[slot, T_ROUTER, 1]
    bias = resident.scalars[S_BIAS_STEP]
    totals = work.rotated[:LANES]
    block_sums(codes, LANES, rows, tables, work, totals)
    constants = parameters[P_LEVEL_OFFSET + level] + (group * (rows + 1) + rows) * LANES
    first = group * LANES
    count = min(LANES, parameters[P_LEVEL_UNITS + level] - first)
    for lane in range(count):
        constant = np.float32(resident.router_codes[constants + lane])
        work.unit_scores[at] = base + step * totals[lane] + bias * constant
        work.units[at] = first + lane
        at += 1
    work.counters[slot, N_CODES] += count
    return at


@kernel
def group_score(resident, work, slot, unit):  # type: ignore[no-untyped-def]
    """(score without bias, bias) of the coded centroid of one unit of level 0."""
    rows = resident.parameters[P_ROUTER_BYTES]
    group = unit // LANES
    lane = unit - group * LANES
    at = resident.parameters[P_LEVEL_OFFSET] + group * (rows + 1) * LANES + lane
    codes = np.int64(resident.router_codes.ctypes.data) + at
    total = lookup_one(codes, LANES, rows, np.int64(work.tables[slot, T_ROUTER].ctypes.data))
    base = work.table_scalars[slot, T_ROUTER, 0]
    step = work.table_scalars[slot, T_ROUTER, 1]
    constant = np.float32(resident.router_codes[at + rows * LANES])
    return base + step * np.float32(total), resident.scalars[S_BIAS_STEP] * constant


@kernel
def route_query(resident, work, slot):  # type: ignore[no-untyped-def]
    """Fill the query's frontier with the best groups of pages, sorted by score."""
    parameters = resident.parameters
    level = parameters[P_START_LEVEL]
    count = 0
    groups = (parameters[P_LEVEL_UNITS + level] + LANES - 1) // LANES
    for group in range(groups):
        count = _score_group(resident, work, slot, level, group, count)
    while level > 0:
        wanted = work.call[CALL_CELLS]
        for _ in range(level - 1):
            wanted = max(LEAST_CELLS, wanted // 4)
        wanted = min(wanted, count)
        select_smallest(work.unit_scores, work.units, count, wanted)
        cells = work.units[work.units.shape[0] - wanted :]
        for i in range(wanted):
            cells[i] = work.units[i]
        count = 0
        level -= 1
        for i in range(wanted):
            count = _score_group(resident, work, slot, level, cells[i], count)
    kept = min(min(count, work.call[CALL_SCAN_GROUPS]), work.frontier_scores.shape[1])
    select_smallest(work.unit_scores, work.units, count, kept)
    sort_pairs(work.unit_scores, work.units, kept)
    for i in range(kept):
        work.frontier_scores[slot, i] = work.unit_scores[i]
        work.frontier[slot, i] = work.units[i]
    work.counters[slot, N_FRONTIER] = kept
    work.counters[slot, N_FRONTIER_AT] = 0
