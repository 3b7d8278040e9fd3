"""The memory of queries in flight: how large it is, and its allocation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pageann.index.kernels.codes import CODEWORDS
from pageann.index.kernels.route import LEAST_CELLS
from pageann.index.kernels.scan import LANES, TABLE_BYTES
from pageann.index.kernels.state import (
    CALL_COUNT,
    COUNTER_COUNT,
    LAYOUT_PAGE_BYTES,
    P_CODE_BYTES,
    P_DIM,
    P_EXACT_LAYOUT,
    P_LEVEL_UNITS,
    P_PAGE_LAYOUT,
    P_QUANTISED,
    P_REP_BYTES,
    P_RERANK,
    P_ROUTER_BYTES,
    P_START_LEVEL,
    Resident,
    Work,
)
from pageann.storage.io.buffers import AlignedBuffer

__all__ = ["Workspace", "WorkspaceSize"]


@dataclass(frozen=True, slots=True)
class WorkspaceSize:
    """How much one worker's queries need."""

    k: int
    effort: int
    scan_groups: int
    """Groups whose codes are scored, or that may enter the frontier."""
    cells: int
    """Units of level 1 whose groups are scored."""
    width: int
    """Most pages of a round."""

    def units(self, resident: Resident) -> int:
        """Places for scores of router units: the most that one level scores, and its chosen cells."""
        parameters = resident.parameters
        start = int(parameters[P_START_LEVEL])
        top = int(parameters[P_LEVEL_UNITS + start])
        cells = max(self.cells, LEAST_CELLS)
        return max(-(-top // LANES) * LANES, cells * LANES) + cells + LANES

    def frontier(self, resident: Resident) -> int:
        """Places of the frontier."""
        return max(1, min(self.scan_groups, int(resident.parameters[P_LEVEL_UNITS])))

    def visited(self) -> int:
        """Places of the table of pages asked for: a power of two, a quarter full at the usual effort."""
        return 1 << (4 * (self.effort + self.width) + 64).bit_length()


def _buffer_bytes(resident: Resident) -> int:
    parameters = resident.parameters
    page_bytes = int(parameters[P_PAGE_LAYOUT + LAYOUT_PAGE_BYTES])
    if parameters[P_RERANK]:
        page_bytes = max(page_bytes, int(parameters[P_EXACT_LAYOUT + LAYOUT_PAGE_BYTES]))
    return page_bytes


class Workspace:
    """A :class:`Work` of ``slots`` queries and the page buffers behind it; ``close`` frees those."""

    def __init__(self, resident: Resident, slots: int, size: WorkspaceSize) -> None:
        parameters = resident.parameters
        dim = int(parameters[P_DIM])
        table_rows = int(max(parameters[P_ROUTER_BYTES], parameters[P_CODE_BYTES], parameters[P_REP_BYTES]))
        quantised = 2 * dim if parameters[P_QUANTISED] else 0
        buffer_bytes = _buffer_bytes(resident)
        self.slots = slots
        self.size = size
        self._memory = AlignedBuffer(max(1, slots * size.width) * buffer_bytes + 4096)
        buffers = self._memory.address + buffer_bytes * np.arange(slots * size.width, dtype=np.int64)
        frontier, visited, units = size.frontier(resident), size.visited(), size.units(resident)
        self.work = Work(
            call=np.zeros(CALL_COUNT, np.int64),
            counters=np.zeros((slots, COUNTER_COUNT), np.int64),
            query=np.zeros((slots, dim), np.float64),
            query_integer=np.zeros((slots, dim), np.int32),
            nav=np.zeros((slots, dim), np.float32),
            quantised=np.zeros((slots, quantised), np.float32),
            query_scalars=np.zeros((slots, 4), np.float64),
            tables=np.zeros((slots, 3, table_rows * TABLE_BYTES), np.uint8),
            table_scalars=np.zeros((slots, 3, 2), np.float32),
            frontier_scores=np.zeros((slots, frontier), np.float32),
            frontier=np.zeros((slots, frontier), np.int32),
            pool_scores=np.zeros((slots, size.effort), np.float32),
            pool_slots=np.zeros((slots, size.effort), np.int64),
            pool_states=np.zeros((slots, size.effort), np.uint8),
            top_distances=np.zeros((slots, size.k), np.float64),
            top_rows=np.zeros((slots, size.k), np.int64),
            top_slots=np.zeros((slots, size.k), np.int64),
            visited=np.zeros((slots, visited), np.int64),
            wanted=np.zeros((slots, size.width), np.int64),
            wanted_addresses=np.zeros((slots, size.width), np.int64),
            wanted_results=np.zeros((slots, size.width), np.int32),
            buffers=buffers.reshape(slots, size.width),
            unit_scores=np.zeros(units, np.float32),
            units=np.zeros(units, np.int32),
            rotated=np.zeros(max(dim, LANES), np.float32),
            table_values=np.zeros(2 * CODEWORDS * table_rows, np.float32),
            sums=np.zeros(LANES, np.uint16),
        )

    @property
    def bytes(self) -> int:
        """Bytes of all arrays and buffers."""
        arrays = sum(array.nbytes for array in self.work)
        return arrays + self._memory.nbytes

    def close(self) -> None:
        """Free the page buffers; nothing may be reading into them."""
        self._memory.close()
