"""The memory of a call: the widest rounds that a worker's share holds, else one call alone with all."""

from __future__ import annotations

from dataclasses import dataclass

from pageann.index.search.tuning import Tuning
from pageann.index.search.workspace import WorkspaceFacts, WorkspaceSize

__all__ = ["Sizing"]


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much memory there is for queries in flight, and what decides how much one takes."""

    tuning: Tuning
    facts: WorkspaceFacts
    group_slots: int
    width: int
    """Most pages of a round."""
    share_bytes: int
    """Of each worker."""
    whole_bytes: int
    """Of all workers together, which a call that needs more than a share gets for itself."""

    def widest(self, k: int, effort: int) -> WorkspaceSize | None:
        """The workspace of a call; None where all the memory does not hold it."""
        for most_bytes in (self.share_bytes, self.whole_bytes):
            width = self.width
            while width >= 1:
                size = self.tuning.size(k, effort, self.group_slots, width)
                if self.facts.bytes(1, size) <= most_bytes:
                    return size
                width //= 2
        return None

    def most_careful(self, k: int, least: int, effort: int) -> WorkspaceSize | None:
        """That of the greatest effort from ``least`` up to ``effort`` that fits; None where none does."""
        best = self.widest(k, least)
        least, most = least + 1, effort
        while best is not None and least <= most:
            middle = (least + most) // 2
            size = self.widest(k, middle)
            if size is None:
                most = middle - 1
            else:
                best, least = size, middle + 1
        return best

    def least_bytes(self, k: int, effort: int) -> int:
        """What one query takes at the least."""
        return self.facts.bytes(1, self.tuning.size(k, effort, self.group_slots, 1))
