"""What became of each true neighbour in a search, and why any was missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.explanation import MissReason, TrueNeighbour
from pageann.index.kernels import state
from pageann.index.search.explain_trace import Trace
from pageann.index.search.load import LoadedSegment
from pageann.results import StopReason

__all__ = ["Truth", "true_neighbours"]

Int64s = npt.NDArray[np.int64]

_SLACK = 1e-6
"""Relative difference of distances that are taken as equal, as in the definition of recall."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The nearest rows of all, nearest first."""

    ids: list[Any]
    rows: Int64s
    distances: npt.NDArray[np.float64]
    slots: Int64s


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a true neighbour lies, and what is known of it."""

    slot: int
    page: int
    group: int
    scored: bool
    estimate: float | None
    """A score."""
    rank: int | None
    distance: float


def true_neighbours(segment: LoadedSegment, trace: Trace, truth: Truth) -> tuple[TrueNeighbour, ...]:
    """Each true neighbour with its fate."""
    return tuple(_Diagnosis(segment, trace, truth).all())


class _Diagnosis:
    """The facts that are shared by all true neighbours of a query."""

    def __init__(self, segment: LoadedSegment, trace: Trace, truth: Truth) -> None:
        self._segment = segment
        self._trace = trace
        self._truth = truth
        parameters = segment.resident.parameters
        self._capacity = int(parameters[state.P_PAGE_LAYOUT + state.LAYOUT_CAPACITY])
        self._group_slots = int(parameters[state.P_GROUP_SLOTS])
        self._in_two_steps = bool(parameters[state.P_RERANK] != 0)
        self._scored = set(self._looked_at().tolist())
        self._round_of_row = {
            int(row): number
            for number, each in reversed(list(enumerate(trace.rounds)))
            for page in each.pages
            for row in page.brought
        }
        self._pool = {slot: (place + 1, kind) for place, (slot, kind, _) in enumerate(trace.pool)}
        self._ranked = np.sort(np.concatenate(self._scored_estimates() or [np.empty(0, np.float32)]))

    def _looked_at(self) -> Int64s:
        """Groups whose codes were scored; without codes, those that were next in line."""
        frontier = self._trace.frontier
        return frontier if self._trace.has_codes else frontier[: self._trace.frontier_used]

    def _members(self, group: int) -> npt.NDArray[np.float32]:
        return self._trace.estimates.members(group, float(self._trace.group_scores[group]))

    def _scored_estimates(self) -> list[npt.NDArray[np.float32]]:
        return [self._members(int(group)) for group in self._trace.frontier] if self._trace.has_codes else []

    def all(self) -> Iterator[TrueNeighbour]:
        truth, trace = self._truth, self._trace
        found = self._found()
        for number, row in enumerate(truth.rows.tolist()):
            place = self._place(int(truth.slots[number]), float(truth.distances[number]))
            reason, why = None, "found"
            if not found[number]:
                reason, why = self._miss(row, place)
            elif row not in trace.rows:
                why = "another row of the same distance stands in its place"
            yield TrueNeighbour(
                id=truth.ids[number],
                row=row,
                distance=place.distance,
                page=place.page,
                group=place.group,
                group_rank=int(trace.group_ranks[place.group]),
                group_scored=place.scored,
                estimate=None if place.estimate is None else trace.estimates.distance(place.estimate),
                estimate_rank=place.rank,
                found=bool(found[number]),
                found_in=self._round_of_row.get(row),
                reason=reason,
                why=why,
            )

    def _found(self) -> npt.NDArray[np.bool_]:
        """Which true neighbours came back, or were displaced by other rows of the last distance."""
        truth, trace = self._truth, self._trace
        found = np.isin(truth.rows, trace.rows)
        if len(truth.rows):
            last = truth.distances[-1] + _SLACK * abs(truth.distances[-1])
            others = int((~np.isin(trace.rows, truth.rows) & (trace.distances <= last)).sum())
            missing = np.flatnonzero(~found)
            found[missing[len(missing) - min(others, len(missing)) :]] = True
        return found

    def _place(self, slot: int, distance: float) -> _Place:
        group = slot // self._group_slots
        estimate: float | None = None
        rank: int | None = None
        if self._trace.has_codes:
            estimate = float(self._members(group)[slot - group * self._group_slots])
            if group in self._scored:
                rank = int(np.searchsorted(self._ranked, np.float32(estimate))) + 1
        if slot in self._trace.told:  # where both are known, the code on a page is the finer one
            estimate = self._trace.told[slot].score
        return _Place(slot, slot // self._capacity, group, group in self._scored, estimate, rank, distance)

    def _miss(self, row: int, place: _Place) -> tuple[MissReason, str]:
        """Why a true neighbour did not come back."""
        if self._in_two_steps and row in self._round_of_row:
            return self._not_reranked(place)
        if place.slot in self._pool:
            return self._not_read(place)
        if not place.scored and place.slot not in self._trace.told:
            return self._not_reached(place)
        return self._fell_behind(place)

    def _cut(self) -> MissReason | None:
        stopped = StopReason(int(self._trace.counters[state.N_STOP]))
        return MissReason.READ_LIMIT if stopped is StopReason.MAX_PAGE_READS else None

    def _not_reranked(self, place: _Place) -> tuple[MissReason, str]:
        """Its page was looked at, its record was not."""
        known = self._pool.get(place.slot)
        cut = self._cut()
        if known is None:
            return MissReason.ESTIMATE, (
                "on its page, by 8 bits an element, it seemed farther than all candidates that were kept"
            )
        which = f"by 8 bits an element it was candidate {known[0]:,}"
        if cut is not None:
            return cut, f"{which}; the search was cut short before its exact vector was read"
        return MissReason.ESTIMATE, f"{which}, and fewer exact vectors were looked at"

    def _not_read(self, place: _Place) -> tuple[MissReason, str]:
        """It was a candidate to the end."""
        rank = self._pool[place.slot][0]
        if self._is_beyond_margin(place):
            return self._beyond_margin(place, rank)
        cut = self._cut()
        if cut is not None:
            return cut, f"it was candidate {rank:,} when the search was cut short"
        looked = int(self._trace.counters[state.N_READS] + self._trace.counters[state.N_PINNED])
        return MissReason.EFFORT, f"it was candidate {rank:,} when the search ended, after {looked:,} pages"

    def _is_beyond_margin(self, place: _Place) -> bool:
        """Whether its estimate was above what made a page worth a read, to the end."""
        limit = self._trace.rounds[-1].limit_after if self._trace.rounds else None
        if not self._trace.by_margin or limit is None or place.estimate is None:
            return False
        return self._trace.estimates.distance(place.estimate) > limit

    def _beyond_margin(self, place: _Place, rank: int) -> tuple[MissReason, str]:
        """It was kept, and its page was not worth a read by its estimate."""
        assert place.estimate is not None
        estimate, limit = self._trace.estimates.distance(place.estimate), self._highest_limit()
        text = (
            f"its distance {place.distance:.6g} was estimated as {estimate:.6g}, candidate {rank:,} at the "
            f"end; pages were worth a read up to {limit:.6g}"
        )
        if place.distance > limit:
            return MissReason.EFFORT, f"{text}: at its true distance it would not have been read either"
        if estimate <= limit:
            return MissReason.EFFORT, f"{text}, less by the time of its turn"
        return MissReason.ESTIMATE, text

    def _highest_limit(self) -> float:
        """The highest estimate for which a page was worth a read in any round; inf where nothing but the
        number of candidates kept was a limit."""
        limits = [limit for each in self._trace.rounds for limit in (each.limit_before, each.limit_after)]
        known = [limit for limit in limits if limit is not None]
        return max(known, default=np.inf) if self._trace.by_margin else np.inf

    def _not_reached(self, place: _Place) -> tuple[MissReason, str]:
        trace = self._trace
        rank, groups = int(trace.group_ranks[place.group]), len(trace.group_scores)
        where = f"its group is number {rank:,} of {groups:,} in the router's ranking"
        if self._trace.has_codes and rank <= len(trace.frontier):
            return MissReason.NOT_REACHED, f"{where}, but a level above the groups kept it from being scored"
        if self._trace.has_codes:
            return MissReason.NOT_REACHED, f"{where}, and the codes of {len(trace.frontier):,} were scored"
        told = f"{where}, {trace.frontier_used:,} were used, and no page that was looked at told of it"
        cut = self._cut()
        return (
            (MissReason.NOT_REACHED, told)
            if cut is None
            else (cut, f"{told} before the search was cut short")
        )

    def _fell_behind(self, place: _Place) -> tuple[MissReason, str]:
        """It was estimated, or its page was next in line, and did not stay among the candidates."""
        trace = self._trace
        if place.estimate is None:
            return MissReason.NOT_REACHED, "its page stood in line, and other pages were preferred"
        when = trace.left.get(place.slot)
        limit = self._limit_when_dropped(place.slot, when)
        estimate = trace.estimates.distance(place.estimate)
        told = self._trace.told.get(place.slot)
        rank = "" if place.rank is None else f" (number {place.rank:,} of {len(self._ranked):,})"
        rank = rank if told is None else f" from a code on page {told.page}"
        dropped = "did not enter the candidates" if when is None else f"left the candidates in round {when}"
        text = (
            f"its distance {place.distance:.6g} was estimated as {estimate:.6g}{rank}; "
            f"it {dropped}, whose limit was {limit:.6g}"
        )
        if place.distance >= min(limit, estimate):
            return MissReason.EFFORT, f"{text}: at its true distance it would not have stayed either"
        if place.distance > self._highest_limit():
            return MissReason.EFFORT, f"{text}: at its true distance its page would not have been read either"
        return MissReason.ESTIMATE, text

    def _limit_when_dropped(self, slot: int, when: int | None) -> float:
        """What a candidate had to beat when the one in ``slot`` was turned away, or pushed out in a round."""
        rounds = self._trace.rounds
        if when is not None:
            limit = rounds[when].kept_after
        elif slot in self._trace.told:
            limit = rounds[self._trace.told[slot].round].kept_after
        else:
            limit = rounds[0].kept_before if rounds else None
        return np.inf if limit is None else limit
