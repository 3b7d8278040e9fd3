"""The memory of queries in flight: how large it is, and its allocation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.codes import CODEWORDS
from pageann.index.kernels.ranking import BINS
from pageann.index.kernels.route import LEAST_CELLS
from pageann.index.kernels.scan import BYTE_TABLE_BYTES, BYTE_WORDS, LANES, TABLE_BYTES
from pageann.index.kernels.state import (
    CALL_COUNT,
    COUNTER_COUNT,
    KEPT_CELLS,
    KIND_BYTES,
    LAYOUT_PAGE_BYTES,
    P_CODE_BYTES,
    P_CODE_KIND,
    P_COPY_BYTES,
    P_DIM,
    P_EXACT_LAYOUT,
    P_LEVEL_UNITS,
    P_PAGE_LAYOUT,
    P_QUANTISED,
    P_REP_BYTES,
    P_RERANK,
    P_ROUTER_BYTES,
    P_ROWS,
    P_START_LEVEL,
    QUERY_SCALARS,
    Resident,
    Work,
)
from pageann.storage.io.buffers import AlignedBuffer

__all__ = ["Workspace", "WorkspaceFacts", "WorkspaceSize", "table_sizes"]

_SPARE_BYTES = 4096
"""Behind the last page buffer, which scans may read beyond."""
_REAPED_AT_ONCE = 64
"""Completions that are taken at a time."""


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

    def visited(self) -> int:
        """Places of the table of pages asked for: a power of two, an eighth full at the usual effort."""
        return 1 << (8 * (self.effort + self.width) + 128).bit_length()


def table_sizes(router_bytes: int, code_bytes: int, rep_bytes: int, code_kind: int) -> tuple[int, int]:
    """(bytes of the largest tables of a query, terms that they are made from)."""
    nibbles, parts = max(router_bytes, rep_bytes), 0
    if code_kind == KIND_BYTES:
        parts = code_bytes
    else:
        nibbles = max(nibbles, code_bytes)
    terms = max(2 * CODEWORDS * nibbles, BYTE_WORDS * parts)
    return max(TABLE_BYTES * nibbles, BYTE_TABLE_BYTES * parts), terms


@dataclass(frozen=True, slots=True)
class WorkspaceFacts:
    """What the memory of a query depends on, besides the call: facts of an open index."""

    rows: int
    dim: int
    table_sizes: tuple[int, int]
    """As :func:`table_sizes` has them."""
    quantised: bool
    walks: bool
    """Whether pages bring codes of their neighbours."""
    by_margin: bool
    """Whether all estimates come from resident codes."""
    copies: bool
    """Whether vectors lie on two pages."""
    buffer_bytes: int
    """Bytes of the longest read of a search."""
    groups: int
    """Units of the router's lowest level."""
    start_units: int
    """Units of the level that is scored whole."""

    @classmethod
    def of_parameters(cls, parameters: npt.NDArray[np.int64]) -> Self:
        """The facts that an index's parameters state."""
        buffer_bytes = int(parameters[P_PAGE_LAYOUT + LAYOUT_PAGE_BYTES])
        if parameters[P_RERANK]:
            buffer_bytes = max(buffer_bytes, int(parameters[P_EXACT_LAYOUT + LAYOUT_PAGE_BYTES]))
        return cls(
            rows=int(parameters[P_ROWS]),
            dim=int(parameters[P_DIM]),
            table_sizes=table_sizes(
                *(
                    int(parameters[which])
                    for which in (P_ROUTER_BYTES, P_CODE_BYTES, P_REP_BYTES, P_CODE_KIND)
                )
            ),
            quantised=bool(parameters[P_QUANTISED]),
            walks=bool(parameters[P_REP_BYTES]),
            by_margin=parameters[P_CODE_BYTES] > 0 and not parameters[P_REP_BYTES],
            copies=bool(parameters[P_COPY_BYTES]),
            buffer_bytes=buffer_bytes,
            groups=int(parameters[P_LEVEL_UNITS]),
            start_units=int(parameters[P_LEVEL_UNITS + int(parameters[P_START_LEVEL])]),
        )

    def pool(self, size: WorkspaceSize) -> int:
        """Candidates kept: ``effort``, or where a margin ends a search as many as may come to count.

        Exact distances push estimates back, so more are kept than are looked at, but never many.
        """
        if not self.by_margin or size.effort >= self.rows:
            return size.effort
        return size.k + min(2 * size.effort, 8 * size.k + 160) + 32

    def arrays(self, slots: int, size: WorkspaceSize) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each array of :class:`Work` but ``buffers``."""
        frontier = max(1, min(size.scan_groups, self.groups))
        pool = self.pool(size)
        reads = slots * size.width
        # A level is scored whole, or below its chosen cells.
        cells = max(size.cells, LEAST_CELLS, -(-self.start_units // LANES))
        return {
            "call": ((CALL_COUNT,), np.int64),
            "counters": ((slots, COUNTER_COUNT), np.int64),
            "query": ((slots, self.dim), np.float64),
            "query_integer": ((slots, self.dim), np.int32),
            "nav": ((slots, self.dim), np.float32),
            "quantised": ((slots, 2 * self.dim if self.quantised else 0), np.float32),
            "query_scalars": ((slots, QUERY_SCALARS), np.float64),
            "tables": ((slots, 3, self.table_sizes[0]), np.uint8),
            "table_scalars": ((slots, 3, 2), np.float32),
            "frontier_scores": ((slots, frontier), np.float32),
            "frontier": ((slots, frontier), np.int32),
            "pool_scores": ((slots, pool), np.float32),
            "pool_slots": ((slots, pool), np.int64),
            "pool_states": ((slots, pool), np.uint8),
            "pool_pages": ((2, pool if self.copies else 0), np.int64),
            "pool_weights": ((pool if self.copies else 0,), np.float32),
            "top_distances": ((slots, size.k), np.float64),
            "top_rows": ((slots, size.k), np.int64),
            "top_slots": ((slots, size.k), np.int64),
            "visited": ((slots, size.visited()), np.int64),
            "kept_cells": ((slots, KEPT_CELLS if self.walks else 0), np.int32),
            "kept_scores": ((slots, KEPT_CELLS * LANES if self.walks else 0), np.float32),
            "wanted": ((slots, size.width), np.int64),
            "wanted_addresses": ((slots, size.width), np.int64),
            "wanted_results": ((slots, size.width), np.int32),
            "free": ((slots + 1,), np.int64),
            "retries": ((slots, size.width), np.uint8),
            "read_keys": ((reads,), np.int64),
            "read_table": ((reads + 1,), np.int32),
            "read_chain": ((reads,), np.int32),
            "read_followers": ((reads,), np.int32),
            "reaped": ((_REAPED_AT_ONCE,), np.int64),
            "reaped_results": ((_REAPED_AT_ONCE,), np.int32),
            "unit_scores": ((cells * LANES,), np.float32),
            "bins": ((BINS,), np.int32),
            "cells": ((2, cells), np.int32),
            "cell_scores": ((cells,), np.float32),
            "cell_places": ((cells,), np.int32),
            "rotated": ((max(self.dim, LANES),), np.float32),
            "table_values": ((self.table_sizes[1],), np.float32),
        }

    def bytes(self, slots: int, size: WorkspaceSize) -> int:
        """Bytes of a workspace of ``slots`` queries."""
        arrays = self.arrays(slots, size).values()
        held = int(sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays))
        return held + slots * size.width * (self.buffer_bytes + 8) + _SPARE_BYTES


class Workspace:
    """A :class:`Work` of ``slots`` queries and the page buffers behind it; ``close`` frees those."""

    def __init__(self, resident: Resident, slots: int, size: WorkspaceSize) -> None:
        facts = WorkspaceFacts.of_parameters(resident.parameters)
        self.slots = slots
        self.size = size
        self.bytes = facts.bytes(slots, size)
        self._memory = AlignedBuffer(slots * size.width * facts.buffer_bytes + _SPARE_BYTES)
        places = np.arange(slots * size.width, dtype=np.int64).reshape(slots, size.width)
        arrays = {name: np.zeros(*form) for name, form in facts.arrays(slots, size).items()}
        arrays["free"][:] = [*range(slots), slots]
        self.work = Work(buffers=self._memory.address + facts.buffer_bytes * places, **arrays)

    @property
    def buffer_span(self) -> tuple[int, int]:
        """(address, bytes) of all page buffers."""
        return self._memory.address, self._memory.nbytes

    def close(self) -> None:
        """Free the page buffers; nothing may be reading into them."""
        self._memory.close()
