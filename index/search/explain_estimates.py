"""The estimates that a search makes, made again in NumPy for any group, vector or page.

What kernels do 32 lanes at a time for the best groups is done here for those that one asks about,
from the same tables of the query.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pageann.index.kernels import state
from pageann.index.kernels.scan import BYTE_TABLE_BYTES, LANES, TABLE_BYTES
from pageann.index.kernels.state import Resident, Work
from pageann.storage.format import REP_COUNT_OFFSET, PageLayout

__all__ = ["Estimates"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

_BLOCKS_AT_ONCE = 512


class Estimates:
    """Scores of one query that was started in row 0 of ``work``; valid until the next one is."""

    def __init__(self, resident: Resident, work: Work) -> None:
        self._resident = resident
        self._parameters = resident.parameters
        self._tables = work.tables[0]
        self._table_scalars = work.table_scalars[0]
        self._factor = float(work.query_scalars[0, state.Q_NAV_FACTOR])
        self._term = float(work.query_scalars[0, state.Q_NAV_TERM])

    def distance(self, score: float) -> float:
        """The distance in the index's metric behind a score of navigation space."""
        return (float(score) - self._term) / self._factor

    def score(self, distance: float) -> float:
        """The score that an exact distance has as a candidate."""
        return float(np.float32(distance * self._factor + self._term))

    def groups(self) -> tuple[Floats, Floats]:
        """(score, rank score) float32 (groups,) of each group's coded centroid; the second with its bias."""
        rows = int(self._parameters[state.P_ROUTER_BYTES])
        count = int(self._parameters[state.P_GROUPS])
        first = int(self._parameters[state.P_LEVEL_OFFSET])
        blocks = -(-count // LANES)
        stored = self._resident.router_codes[first : first + blocks * (rows + 1) * LANES]
        cells = stored.reshape(blocks, rows + 1, LANES)
        sums = [
            self._sums(state.T_ROUTER, rows, cells[at : at + _BLOCKS_AT_ONCE, :rows].swapaxes(0, 1))
            for at in range(0, blocks, _BLOCKS_AT_ONCE)
        ]
        base, step = self._table_scalars[state.T_ROUTER]
        scores = (base + step * np.concatenate(sums).reshape(-1)[:count]).astype(np.float32)
        constants = cells[:, rows].reshape(-1)[:count]
        return scores, scores + self._resident.scalars[state.S_BIAS_STEP] * constants

    def members(self, group: int, group_score: float) -> Floats:
        """Estimates float32 (vectors of the group,) from resident codes, in the order of slots."""
        rows = int(self._parameters[state.P_CODE_BYTES])
        capacity = int(self._parameters[state.P_GROUP_SLOTS])
        here = min(capacity, int(self._parameters[state.P_ROWS]) - group * capacity)
        first = group * capacity * (rows + 1)
        record = self._resident.page_codes[first : first + capacity * (rows + 1)]
        scalars, kind = self._resident.scalars, int(self._parameters[state.P_CODE_KIND])
        low, step = float(scalars[state.S_CODE_LOW]), float(scalars[state.S_CODE_STEP])
        codes = _lanes(record, capacity, rows + 1)[:, :here]
        if kind == state.KIND_NIBBLES:
            return self._of_codes(state.T_CODE, rows, codes, low, step) + np.float32(group_score)
        base, table_step = self._table_scalars[state.T_CODE]
        known = group_score + low + step * codes[rows]
        if kind == state.KIND_BYTES:
            products = base + table_step * self._byte_sums(rows, codes[:rows])
            return np.asarray(known + products, np.float32)
        factors = scalars[state.S_FACTOR_LOW] + scalars[state.S_FACTOR_STEP] * codes[rows - 1].astype(
            np.float32
        )
        products = base + table_step * self._sums(state.T_CODE, rows - 1, codes[: rows - 1])
        return np.asarray(known + factors * products, np.float32)

    def representatives(self, page: Bytes, layout: PageLayout, group_scores: Floats) -> tuple[Int64s, Floats]:
        """(slots, estimates) of the vectors of other pages whose codes lie on ``page`` (page_bytes,)."""
        count = int(page[REP_COUNT_OFFSET : REP_COUNT_OFFSET + 2].view("<u2")[0])
        rows = int(self._parameters[state.P_REP_BYTES])
        at = layout.rep_slots_offset
        slots = page[at : at + 4 * count].view("<u4").astype(np.int64)
        stored = page[layout.rep_codes_offset :][: layout.rep_capacity * (rows + 1)]
        scalars = self._resident.scalars
        low, step = float(scalars[state.S_REP_LOW]), float(scalars[state.S_REP_STEP])
        codes = _lanes(stored, layout.rep_capacity, rows + 1)
        offsets = group_scores[slots // int(self._parameters[state.P_GROUP_SLOTS])]
        return slots, self._of_codes(state.T_REP, rows, codes, low, step)[:count] + offsets

    def _of_codes(self, table: int, rows: int, codes: Bytes, low: float, constant_step: float) -> Floats:
        """What the codes uint8 (rows + 1, n) add to the scores of their groups."""
        base, step = self._table_scalars[table]
        sums = self._sums(table, rows, codes[:rows])
        return np.asarray(base + low + constant_step * codes[rows] + step * sums, np.float32)

    def _sums(self, table: int, rows: int, codes: Bytes) -> Int64s:
        """Sums over the first axis of what the table has for each code byte; ``codes`` (rows, ...)."""
        tables = self._tables[table, : rows * TABLE_BYTES].reshape(rows, TABLE_BYTES)
        row = np.arange(rows).reshape(rows, *[1] * (codes.ndim - 1))
        low, high = tables[row, codes & 15], tables[row, LANES + (codes >> 4)]
        return np.asarray(low.sum(axis=0, dtype=np.int64) + high.sum(axis=0, dtype=np.int64))

    def _byte_sums(self, rows: int, codes: Bytes) -> Int64s:
        """As :meth:`_sums`, of codes with a byte a part."""
        tables = self._tables[state.T_CODE, : rows * BYTE_TABLE_BYTES].reshape(rows, BYTE_TABLE_BYTES)
        return np.asarray(tables[np.arange(rows)[:, None], codes].sum(axis=0, dtype=np.int64))


def _lanes(stored: Bytes, count: int, rows: int) -> Bytes:
    """Records (rows, count) from chunks of up to 32 lanes."""
    parts = []
    for first in range(0, count, LANES):
        lanes = min(LANES, count - first)
        parts.append(stored[first * rows : (first + lanes) * rows].reshape(rows, lanes))
    return np.concatenate(parts, axis=1)
