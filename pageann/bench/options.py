"""What a benchmark is asked to measure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BenchOptions", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """How well the queries of one run are to be answered: by recall or by effort, one of which is None."""

    recall: float | None
    effort: int | None

    @property
    def label(self) -> str:
        """``recall 0.95`` or ``effort 40``."""
        return f"recall {self.recall:g}" if self.recall is not None else f"effort {self.effort}"


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of ``pageann bench``; see there."""

    index: str
    queries: str
    truth: str
    k: int = 10
    efforts: tuple[int, ...] = ()
    recalls: tuple[float, ...] = ()
    """Used where ``efforts`` is empty; 0.95 where this is empty too."""
    memories: tuple[str, ...] = ()
    """Budgets to open the index with, one after the other; empty is the budget built for."""
    concurrencies: tuple[int, ...] = (1,)
    batch: int = 1
    """Queries of one call."""
    limit: int | None = None
    groups: str | None = None
    seed: int = 0
    io: str = "auto"
    threads: int | None = None
    column: str | None = None
    dataset: str | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The efforts, or else the recalls, to run with."""
        if self.efforts:
            return tuple(Target(None, effort) for effort in self.efforts)
        return tuple(Target(recall, None) for recall in self.recalls or (0.95,))

    @property
    def budgets(self) -> tuple[str | None, ...]:
        """The memory budgets to open with; None is the one built for."""
        return self.memories or (None,)
