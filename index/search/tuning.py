"""From effort to the widths of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pageann.index.search.workspace import WorkspaceSize

__all__ = ["LEAST_WIDTH", "Tuning", "strictness"]

LEAST_WIDTH = 4
NO_LIMIT = 1 << 40
_STRICTNESS = 1.2
_EVEN_EFFORT = 4.6
"""For each result: where estimates are taken at their word."""
_USUAL_EFFORT = 24.0
_LEAST_GROUPS = 16
_LEAST_CELLS = 32


def strictness(k: int, effort: int) -> float:
    """By how many typical errors an estimate must beat the k-th best distance to be worth a read.

    It falls with the logarithm of the effort: 0.8 at 24 for ten results, 0 at 46, below 0 beyond.
    """
    return _STRICTNESS * math.log(_EVEN_EFFORT * k / effort)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How wide a search is at an effort, found by calibration where an index is built."""

    scan_slots: float
    """Vectors whose codes are scored, for each unit of effort."""
    scan_power: float = 1.0
    """How that grows with the effort, as a power; with 1 it is in proportion, else equal to it at 24."""
    cells_share: float = 0.4
    """Units of level 1 that are opened, for each group that is scored."""
    width: int = 32
    """Most pages of a round."""
    most_cells: int = 1 << 20
    """Limit on those units, whatever the effort."""
    pages_share: float = 0.0
    """Pages looked at, at most, for each unit of effort; 0: no limit but the effort itself."""
    rerank_extra: int = 8
    """Exact records looked at beyond k, where pages hold quantised vectors."""

    def size(self, k: int, effort: int, group_slots: int, width: int) -> WorkspaceSize:
        """The workspace of a call; ``width`` is what memory allows."""
        groups = max(_LEAST_GROUPS, int(self.scan_slots * self._scaled(effort) / group_slots))
        cells = max(_LEAST_CELLS, min(self.most_cells, int(self.cells_share * groups)))
        return WorkspaceSize(k, effort, groups, cells, min(width, self.width))

    def _scaled(self, effort: int) -> float:
        return float(_USUAL_EFFORT ** (1 - self.scan_power) * effort**self.scan_power)

    def walk_pages(self, effort: int) -> int:
        """Most pages that a query of ``effort`` looks at."""
        return max(LEAST_WIDTH, int(self.pages_share * effort)) if self.pages_share else NO_LIMIT

    def rerank(self, k: int) -> int:
        """Exact records to look at."""
        return k + max(self.rerank_extra, k // 4)

    def to_json(self) -> dict[str, Any]:
        """As calibration files hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Tuning:
        """Read back :meth:`to_json`."""
        return cls(**fields)
