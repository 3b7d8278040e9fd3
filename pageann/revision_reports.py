"""What ``tune`` and ``optimize`` hand back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pageann.types import format_bytes

__all__ = ["OptimizeReport", "TuneReport", "TunedEffort"]


@dataclass(frozen=True, slots=True)
class TunedEffort:
    """What a search by recall takes, before and after."""

    code_bytes: int
    """Width of the codes of all vectors in memory; 0: none."""
    k: int
    recall: float
    """Asked for."""
    effort_before: int
    effort: int
    reached: bool
    """Whether the queries reached that recall at any effort that was tried."""
    reads: float
    """Of a query at that effort, without pages that are pinned."""


@dataclass(frozen=True, slots=True, repr=False)
class TuneReport:
    """The recall curves that an index has now."""

    path: str
    version: int
    """The version that was published."""
    queries: int
    """How many were searched for, spread over those that were given."""
    interval: float
    """The recall of these queries is that of all such queries to within this much, 19 times in 20 (k=10)."""
    efforts: tuple[TunedEffort, ...]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [
            f"TuneReport: {self.path}, version {self.version}",
            f"  {self.queries:,} queries; recall is known to +-{self.interval:.3f}",
            "  codes    k  recall   effort  before   reads",
        ]
        lines += [
            f"  {each.code_bytes:5}  {each.k:3}  {each.recall:6g}  {each.effort:7,}  {each.effort_before:6,}"
            f"  {each.reads:6.1f}{'' if each.reached else '  not reached'}"
            for each in self.efforts
        ]
        return "\n".join(lines + [f"  warning: {text}" for text in self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            **asdict(self),
            "efforts": [asdict(each) for each in self.efforts],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, repr=False)
class OptimizeReport:
    """What pinning the pages that a log of queries visits most would save, and whether it was done."""

    path: str
    version: int
    """The version that the index has now."""
    published: bool
    because: str
    """Why it was published, or not."""
    queries: int
    """How many were searched for, spread over those that were given."""
    held_back: int
    """Of those, how many were left out of the counting and used to measure what it saves."""
    budget_bytes: int
    pinned_pages: int
    """Pages that fit that budget."""
    page_count: int
    effort: int
    reads_before: float
    """Of a held-back query, mean."""
    reads_after: float
    saved_low: float
    """Lower end of the 95 % confidence interval of the reads saved."""

    def __repr__(self) -> str:
        lines = [
            f"OptimizeReport: {self.path}, version {self.version}",
            f"  {self.queries:,} queries, {self.held_back:,} of them held back; effort {self.effort:,}",
            f"  {self.pinned_pages:,} of {self.page_count:,} pages are pinned within "
            f"{format_bytes(self.budget_bytes)}",
            f"  reads of a held-back query: {self.reads_before:.2f} before, {self.reads_after:.2f} after",
            f"  {'published' if self.published else 'not published'}: {self.because}",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self)
