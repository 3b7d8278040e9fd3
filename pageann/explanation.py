"""Why a search found what it found: the value that ``Index.explain`` hands back.

Distances and estimates of distances are in the index's metric, as in :mod:`pageann.results`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pageann.results import StopReason

__all__ = [
    "Explanation",
    "MissReason",
    "PageOrigin",
    "SearchCost",
    "SearchRound",
    "TrueNeighbour",
    "VisitedPage",
]

Id = int | str


class PageOrigin(enum.StrEnum):
    """What made a search ask for a page."""

    ROUTER = "router"
    """Its group stood next in the router's ranking."""
    CODE = "code"
    """A code in memory estimated one of its vectors near."""
    REPRESENTATIVE = "representative"
    """A code found on another page estimated one of its vectors near."""
    SHORTFALL = "shortfall"
    """There were fewer results than asked for, so the router's next page was taken."""
    RECORD = "record"
    """An exact vector behind a page of 8 bits an element."""


class MissReason(enum.StrEnum):
    """Why a true neighbour is not in the answer."""

    ESTIMATE = "estimate error"
    """Its distance was estimated too large: its page seemed not worth a read, or others filled the places."""
    NOT_REACHED = "not reached"
    """Nothing that the search looked at told of it."""
    EFFORT = "effort"
    """It was known, but the effort ended before its turn, or left it out at its true distance too."""
    READ_LIMIT = "read limit"
    """``max_page_reads`` was used up before its turn."""


@dataclass(frozen=True, slots=True)
class VisitedPage:
    """A page that was looked at."""

    page: int
    """Its number; of a record, that of the page in the file of exact vectors."""
    origin: PageOrigin
    told_by: int | None
    """The page on which the code was found, where ``origin`` is REPRESENTATIVE."""
    rank: int
    """Place, from 1, of what made it wanted: among the candidates, or in the router's ranking."""
    estimate: float
    """The distance that was estimated then."""
    pinned: bool
    """It was in memory; else it was read."""
    vectors: int
    hits: int
    """Of its vectors, how many are in the answer."""
    missed: int
    """Of its vectors, how many are true neighbours that are not in the answer; 0 without truth."""


@dataclass(frozen=True, slots=True)
class SearchRound:
    """Pages that were asked for together, and how things stood when they had arrived."""

    pages: tuple[VisitedPage, ...]
    """In the order in which they were asked for."""
    reads: int
    """Pages read up to here, this round included."""
    found: int
    """Rows of the final answer that were known by now."""
    true_found: int | None
    """True neighbours that were known by now; None without truth."""
    limit_before: float | None
    """Up to which estimate a page was worth a read when the round was planned; None: any was."""
    limit_after: float | None
    """The same after the round."""
    kth_distance: float | None
    """The distance of the k-th result so far; None while there are fewer."""
    open_candidates: int
    """Candidates left whose pages were not read."""


@dataclass(frozen=True, slots=True)
class TrueNeighbour:
    """One of the k nearest rows of all, and what became of it."""

    id: Id
    row: int
    distance: float
    page: int
    """Where it lies."""
    group: int
    """Its unit of the router: a page, or a few that lie together."""
    group_rank: int
    """Place of the group, from 1, if the router ranked all of them."""
    group_scored: bool
    """Whether the search looked at the group: scored its codes, or had it in line."""
    estimate: float | None
    """The distance estimated from the finest code of it that was in reach; None where none was."""
    estimate_rank: int | None
    """Place of that estimate, from 1, among all that were made from codes in memory; else None."""
    found: bool
    """It is in the answer, or another row of the same distance in its place."""
    found_in: int | None
    """The round, from 0, in which its page was looked at; None where it was not."""
    reason: MissReason | None
    """None where it was found."""
    why: str
    """The same in a sentence."""


@dataclass(frozen=True, slots=True)
class SearchCost:
    """What the search cost, as :class:`pageann.QueryStats` counts it."""

    reads: int
    kib: float
    units: float
    hops: int
    codes_scored: int
    pinned_hits: int
    route_us: float
    scan_us: float
    read_us: float
    """Pages are read by threads here, whichever driver searches use."""


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """How one query was answered: ``str()`` is a report, :meth:`to_svg` a picture."""

    path: str
    metric: str
    rows: int
    k: int
    recall_asked: float | None
    effort: int
    max_page_reads: int | None
    groups: int
    """Units of the router's lowest level."""
    groups_scored: int
    """Of those, how many the search looked at."""
    ids: tuple[Id, ...]
    """The answer, nearest first: what ``search`` returns with the same settings."""
    distances: tuple[float, ...]
    rounds: tuple[SearchRound, ...]
    truth: tuple[TrueNeighbour, ...] | None
    """The true neighbours, nearest first; None where they were not asked for."""
    cost: SearchCost
    stopped: StopReason
    stopped_because: str
    """The same in a sentence."""
    warnings: tuple[str, ...] = ()

    @property
    def recall(self) -> float | None:
        """Share of the true neighbours that were found; None without truth."""
        if self.truth is None:
            return None
        return sum(each.found for each in self.truth) / max(1, len(self.truth))

    @property
    def missed(self) -> tuple[TrueNeighbour, ...]:
        """True neighbours that were not found."""
        return tuple(each for each in self.truth or () if not each.found)

    def pages(self) -> Iterator[tuple[int, VisitedPage]]:
        """(round, page) of all pages, in the order in which they were asked for."""
        for number, each in enumerate(self.rounds):
            for page in each.pages:
                yield number, page

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; reasons and origins as their words."""
        plain: dict[str, Any] = _plain(self)
        plain["stopped"] = self.stopped.label
        plain["recall"] = self.recall
        return plain

    def to_svg(self) -> str:
        """One self-contained picture: rounds from left to right, a cell a page, and what was missed."""
        from pageann.explanation_picture import picture

        return picture(self)

    def __str__(self) -> str:
        from pageann.explanation_report import report

        return report(self)

    def __repr__(self) -> str:
        found = "" if self.recall is None else f", recall {self.recall:g}"
        return (
            f"<pageann.Explanation k={self.k}, effort {self.effort}: {len(self.rounds)} rounds, "
            f"{self.cost.reads} reads{found}>"
        )


def _plain(value: Any) -> Any:
    """``value`` of dataclasses, tuples and numbers as JSON holds it: None for a number that is not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, enum.StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
