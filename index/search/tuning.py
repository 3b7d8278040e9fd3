"""From effort to the widths of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pageann.index.search.workspace import WorkspaceSize

__all__ = ["LEAST_WIDTH", "Tuning"]

LEAST_WIDTH = 4
NO_LIMIT = 1 << 40
_LEAST_GROUPS = 16
_LEAST_CELLS = 32


@dataclass(frozen=True, slots=True)
class Tuning:
    """How wide a search is at an effort, found by calibration where an index is built."""

    scan_slots: float
    """Vectors whose codes are scored, for each unit of effort."""
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
        groups = max(_LEAST_GROUPS, int(self.scan_slots * effort / group_slots))
        cells = max(_LEAST_CELLS, min(self.most_cells, int(self.cells_share * groups)))
        return WorkspaceSize(k, effort, groups, cells, min(width, self.width))

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
