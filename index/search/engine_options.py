"""The settings of one call of the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument
from pageann.index.kernels import state
from pageann.index.search.tuning import strictness
from pageann.index.search.workspace import WorkspaceSize

__all__ = ["CallOptions"]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How the queries of one call are searched. Raises InvalidArgument for what does not fit ``size``."""

    size: WorkspaceSize
    """k, effort and the other widths that decide how much memory a query takes."""
    first_width: int
    """Most pages of the first round."""
    next_width: int
    """Most pages of each later round."""
    rerank: int
    """Exact records to look at, of those found on quantised pages."""
    max_reads: int
    """Most device reads of a query."""
    deadline_ns: int
    """When to end with the best so far, by ``time.monotonic_ns``; 0: never."""
    integral: bool
    """All elements of the queries are integers (of at most 8 bits)."""
    walk_pages: int = 1 << 40
    """Most pages that a query looks at before it settles for what it has, read or pinned."""

    def __post_init__(self) -> None:
        size = self.size
        if min(size.k, size.effort, size.scan_groups, size.cells, size.width) < 1:
            raise InvalidArgument(f"{size}: every part of a workspace is at least 1")
        if not (1 <= self.first_width <= size.width and 1 <= self.next_width <= size.width):
            raise InvalidArgument(
                f"rounds of {self.first_width} and {self.next_width} pages: "
                f"1 to {size.width} fit the workspace"
            )
        if min(self.rerank, self.max_reads, self.deadline_ns, self.walk_pages - 1) < 0:
            raise InvalidArgument(
                f"{self}: rerank, max_reads and deadline_ns are not negative, walk_pages at least 1"
            )

    def write(self, call: npt.NDArray[np.int64]) -> None:
        """Put all but the deadline, which is each query's own, where kernels look for it."""
        call[state.CALL_K] = self.size.k
        call[state.CALL_EFFORT] = self.size.effort
        call[state.CALL_SCAN_GROUPS] = self.size.scan_groups
        call[state.CALL_CELLS] = self.size.cells
        call[state.CALL_FIRST_WIDTH] = self.first_width
        call[state.CALL_NEXT_WIDTH] = self.next_width
        call[state.CALL_RERANK] = self.rerank
        call[state.CALL_MAX_READS] = min(self.max_reads, _UNLIMITED)
        call[state.CALL_INTEGRAL] = int(self.integral)
        call[state.CALL_WALK_PAGES] = self.walk_pages
        call[state.CALL_STRICTNESS] = round(1000 * strictness(self.size.k, self.size.effort))

    def without_deadline(self) -> CallOptions:
        """What must be equal for queries of different calls to be searched together."""
        return replace(self, deadline_ns=0) if self.deadline_ns else self


_UNLIMITED = 1 << 62
