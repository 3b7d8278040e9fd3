"""The router: from the query to the groups of pages whose coded centroids are nearest.

Levels of groups of 32: unit j of level l + 1 stands for units 32 j .. 32 j + 31 of level l, and the
units of level 0 are groups of pages (often of one). Only what lies below the best of a level is scored.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.ranking import rank_smallest
from pageann.index.kernels.scan import LANES, lookup_one, score_block
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
from pageann.storage.memory import prefetch

__all__ = ["LEAST_CELLS", "group_score", "prefetch_record", "route_query"]

LEAST_CELLS = 16
"""Units of a level above the first below which the search goes on, at least."""
_LINE_BYTES = 64


@kernel
def prefetch_record(address, nbytes):  # type: ignore[no-untyped-def]
    """Have the ``nbytes`` at ``address`` brought near while others are scored."""
    for at in range(0, nbytes, _LINE_BYTES):
        prefetch(address + at)


@kernel
def _score_cells(  # type: ignore[no-untyped-def]
    level_codes, rows, tables, base, step, bias, cells, count, units, scores
):
    """Scores of the 32 units of each of ``cells[:count]``, one behind the other; past ``units``: inf."""
    record_bytes = (rows + 1) * LANES
    infinite = np.float32(np.inf)
    address = np.int64(scores.ctypes.data)
    for i in range(count):
        record = level_codes + np.int64(cells[i]) * record_bytes
        if i + 1 < count:
            prefetch_record(level_codes + np.int64(cells[i + 1]) * record_bytes, record_bytes)
        score_block(
            record, LANES, rows, tables, record + rows * LANES, base, bias, step, infinite,
            address + 4 * LANES * i,
        )  # fmt: skip
        for lane in range(max(0, units - np.int64(cells[i]) * LANES), LANES):
            scores[i * LANES + lane] = infinite


@kernel
def _keep_cells(scores, count, last_key, last_place, above, cells):  # type: ignore[no-untyped-def]
    """The units that rank up to (``last_key``, ``last_place``), in ascending order, into ``cells``."""
    kept = 0
    for place in range(count):
        if scores[place] < last_key or (scores[place] == last_key and place <= last_place):
            cells[kept] = above[place // LANES] * LANES + place % LANES
            kept += 1


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
    rows = parameters[P_ROUTER_BYTES]
    codes = np.int64(resident.router_codes.ctypes.data)
    tables = np.int64(work.tables[slot, T_ROUTER].ctypes.data)
    base = work.table_scalars[slot, T_ROUTER, 0]
    step = work.table_scalars[slot, T_ROUTER, 1]
    bias = resident.scalars[S_BIAS_STEP]
    scores, bins, ranks = work.unit_scores, work.bins, work.cell_places
    cells, below = work.cells[0], work.cells[1]
    level = parameters[P_START_LEVEL]
    count = (parameters[P_LEVEL_UNITS + level] + LANES - 1) // LANES
    for i in range(count):
        cells[i] = i
    scored = 0
    while True:
        units = parameters[P_LEVEL_UNITS + level]
        _score_cells(
            codes + parameters[P_LEVEL_OFFSET + level], rows, tables, base, step, bias, cells, count, units,
            scores,
        )  # fmt: skip
        found = count * LANES
        # Only the last cell of a level may be short, and cells ascend.
        found -= max(0, (np.int64(cells[count - 1]) + 1) * LANES - units)
        scored += found
        if level == 0:
            break
        wanted = work.call[CALL_CELLS]
        for _ in range(level - 1):
            wanted = max(LEAST_CELLS, wanted // 4)
        wanted = min(wanted, found)
        rank_smallest(scores, found, wanted, bins, work.cell_scores, ranks)
        _keep_cells(scores, found, work.cell_scores[wanted - 1], ranks[wanted - 1], cells, below)
        cells, below = below, cells
        count = wanted
        level -= 1
    frontier = work.frontier[slot]
    kept = min(min(found, work.call[CALL_SCAN_GROUPS]), frontier.shape[0])
    rank_smallest(scores, found, kept, bins, work.frontier_scores[slot], frontier)
    for i in range(kept):
        frontier[i] = cells[frontier[i] // LANES] * LANES + frontier[i] % LANES
    work.counters[slot, N_CODES] += scored
    work.counters[slot, N_FRONTIER] = kept
    work.counters[slot, N_FRONTIER_AT] = 0
