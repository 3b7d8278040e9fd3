"""Follow one search round by round: what it asked for, why, and what that brought."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pageann.explanation import PageOrigin
from pageann.index.kernels import state
from pageann.index.kernels.copies import page_of_copy
from pageann.index.search.explain_estimates import Estimates
from pageann.index.search.explain_steps import SteppedSearch
from pageann.index.search.workspace import WorkspaceFacts
from pageann.index.segment_files import VECTORS_FILE
from pageann.storage.format import VECTOR_COUNT_OFFSET, PageLayout

__all__ = ["PageTrace", "RoundTrace", "Told", "Trace", "trace_search"]

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_ORIGINS = {state.ESTIMATED: PageOrigin.CODE, state.REFINED: PageOrigin.REPRESENTATIVE}


@dataclass(slots=True)
class PageTrace:
    """A page that was asked for."""

    page: int
    origin: PageOrigin
    told_by: int | None
    rank: int
    """From 1: place in the pool, or in the frontier."""
    score: float
    pinned: bool
    brought: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    """Row numbers of its vectors, once it has arrived."""


@dataclass(slots=True)
class RoundTrace:
    """A round, and how things stood once it was absorbed."""

    pages: list[PageTrace]
    limit_before: float | None
    kept_before: float | None
    reads: int = 0
    """Up to here; the counters already hold those of the round that is planned next."""
    known: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of the results so far."""
    limit_after: float | None = None
    kept_after: float | None = None
    kth_distance: float | None = None
    open_candidates: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """A code of a vector that was found on another page."""

    page: int
    round: int
    score: float


@dataclass(slots=True)
class Trace:
    """A search that has ended."""

    rounds: list[RoundTrace]
    rows: Int64s
    """The answer."""
    distances: npt.NDArray[np.float64]
    slots: Int64s
    counters: Int64s
    has_codes: bool
    """Whether codes of all vectors are resident."""
    frontier: Int64s
    """Groups that the router chose, best first."""
    frontier_used: int
    """How many of them were taken, or passed over because they had been read."""
    group_scores: Floats
    group_ranks: Int64s
    """Place of each group, from 1, if all were ranked."""
    told: dict[int, Told]
    """Slot -> the first page that told of it."""
    left: dict[int, int]
    """Slot -> the round after which its estimate was no longer among the candidates."""
    pool: list[tuple[int, int, float]]
    """(slot, state, score) of the candidates at the end, best first."""
    by_margin: bool
    """Whether a margin to the k-th best distance ended the search, not the number of candidates kept."""
    estimates: Estimates


def trace_search(search: SteppedSearch, query: npt.NDArray[np.float32]) -> Trace:
    """Search for ``query`` float32 (dim,), and keep what happened."""
    search.start(query)
    return _Tracer(search).run()


class _Tracer:
    """A :class:`Trace` in the making; its search has begun."""

    def __init__(self, search: SteppedSearch) -> None:
        self._search = search
        self._work = search.work
        self._counters = search.counters
        segment = search.segment
        self._resident = segment.resident
        self._parameters = segment.resident.parameters
        self._walked = segment.layouts[segment.walked_file]
        self._estimates = Estimates(segment.resident, search.work)
        self._group_scores, ranked = self._estimates.groups()
        self._group_ranks = np.empty(len(ranked), np.int64)
        self._group_ranks[np.argsort(ranked, kind="stable")] = np.arange(1, len(ranked) + 1)
        self._told: dict[int, Told] = {}
        self._left: dict[int, int] = {}
        self._rounds: list[RoundTrace] = []

    def run(self) -> Trace:
        search, frontier_before = self._search, 0
        known = self._candidates()
        while not search.done:
            current = RoundTrace(self._planned(frontier_before), self._limit(), self._kept())
            frontier_before = int(self._counters[state.N_FRONTIER_AT])
            walking, addresses = search.walking, self._work.wanted_addresses[0].tolist()
            search.read()
            search.absorb()  # pages are sound from here on, and stay where they are until the next read
            self._take(current, addresses, walking)
            self._rounds.append(current)
            self._close(current)
            left = known - self._candidates()
            self._left |= {slot: len(self._rounds) - 1 for slot in left if slot not in self._left}
            known = self._candidates()
        return self._trace()

    def _candidates(self) -> set[int]:
        return set(self._work.pool_slots[0, : self._counters[state.N_POOL]].tolist())

    def _limit(self) -> float | None:
        """Up to which estimate a page was worth a read when the last round was planned; None: any was."""
        limit = np.float32(self._work.query_scalars[0, state.Q_LIMIT])
        return self._estimates.distance(float(limit)) if np.isfinite(limit) else None

    def _kept(self) -> float | None:
        """The distance that a candidate has to beat to be kept; None: there is room."""
        scores = self._work.pool_scores[0]
        full = self._counters[state.N_POOL] == len(scores)
        return self._estimates.distance(float(scores[-1])) if full else None

    def _by_margin(self) -> bool:
        facts = WorkspaceFacts.of_parameters(self._parameters)
        return facts.by_margin and self._search.options.size.effort < facts.rows

    def _planned(self, frontier_before: int) -> list[PageTrace]:
        """The pages of the round, and what made each of them wanted."""
        search = self._search
        pages, pinned = search.wanted.tolist(), search.pinned.tolist()
        if not search.walking:
            origins = self._records()
        else:
            origins = self._from_pool(pages)
            ranked = self._parameters[state.P_CODE_BYTES] == 0  # else candidates come first
            for page, found in self._from_frontier(frontier_before).items():
                if page not in origins or (ranked and found.score < origins[page].score):
                    origins[page] = found
        planned = [origins[page] for page in pages]
        for each, held in zip(planned, pinned, strict=True):
            each.pinned = held
        return planned

    def _from_pool(self, wanted: list[int]) -> dict[int, PageTrace]:
        """By page: the best candidate whose vector is not known, nor on a page that is asked for before."""
        found: dict[int, PageTrace] = {}
        asked_before = {page: place for place, page in enumerate(wanted)}
        for place, (slot, kind, score) in enumerate(self._pool()):
            if kind == state.EXACT:
                continue
            pages = [page for page in self._pages_of(slot) if page in asked_before]
            page = min(pages, key=asked_before.__getitem__, default=-1)
            if page < 0 or page in found:
                continue
            told = self._told.get(slot) if kind == state.REFINED else None
            told_by = None if told is None else told.page
            found[page] = PageTrace(page, _ORIGINS[kind], told_by, place + 1, score, False)
        return found

    def _pages_of(self, slot: int) -> tuple[int, ...]:
        """The page of a slot, and the page of copies that has its vector too, if one is known."""
        other = page_of_copy(self._resident, slot)
        own = slot // self._walked.capacity
        return (own,) if other < 0 else (own, other)

    def _from_frontier(self, before: int) -> dict[int, PageTrace]:
        """By page: what was taken from the router's ranking since ``before``."""
        group_pages = int(self._parameters[state.P_GROUP_PAGES])
        ranked = self._parameters[state.P_CODE_BYTES] == 0
        origin = PageOrigin.ROUTER if ranked else PageOrigin.SHORTFALL
        found = {}
        for at in range(before, int(self._counters[state.N_FRONTIER_AT])):
            head, within = divmod(at, group_pages)
            page = int(self._work.frontier[0, head]) * group_pages + within
            found[page] = PageTrace(
                page, origin, None, head + 1, float(self._work.frontier_scores[0, head]), False
            )
        return found

    def _records(self) -> dict[int, PageTrace]:
        """By record page: the best vector on it by its 8 bits an element."""
        capacity = int(self._parameters[state.P_EXACT_LAYOUT + state.LAYOUT_CAPACITY])
        found: dict[int, PageTrace] = {}
        for place, (slot, kind, score) in enumerate(self._pool()):
            if kind == state.EXACT and slot // capacity not in found:
                page = slot // capacity
                found[page] = PageTrace(page, PageOrigin.RECORD, None, place + 1, score, False)
        return found

    def _pool(self) -> list[tuple[int, int, float]]:
        count, work = int(self._counters[state.N_POOL]), self._work
        slots, states = work.pool_slots[0, :count].tolist(), work.pool_states[0, :count].tolist()
        return list(zip(slots, states, work.pool_scores[0, :count].tolist(), strict=True))

    def _take(self, current: RoundTrace, addresses: list[int], walking: bool) -> None:
        """Note what lies on the pages of the round."""
        layout = self._walked if walking else self._search.segment.layouts[VECTORS_FILE]
        for each, address in zip(current.pages, addresses, strict=False):
            memory = (ctypes.c_uint8 * layout.page_bytes).from_address(address)
            page = np.ctypeslib.as_array(memory)
            each.brought = _rows_on(page, layout)
            if walking and self._parameters[state.P_REP_BYTES] > 0:
                slots, scores = self._estimates.representatives(page, layout, self._group_scores)
                for slot, score in zip(slots.tolist(), scores.tolist(), strict=True):
                    self._told.setdefault(slot, Told(each.page, len(self._rounds), score))

    def _close(self, current: RoundTrace) -> None:
        """Note how things stand after the round."""
        kept = self._work.top_rows.shape[1]
        rows, distances = self._search.answer()
        current.reads = sum(not page.pinned for each in self._rounds for page in each.pages)
        current.known = rows
        current.limit_after = self._limit()
        current.kept_after = self._kept()
        current.kth_distance = float(distances[-1]) if len(distances) == kept else None
        current.open_candidates = sum(kind != state.EXACT for _, kind, _ in self._pool())

    def _trace(self) -> Trace:
        rows, distances = self._search.answer()
        chosen = self._work.frontier[0, : self._counters[state.N_FRONTIER]].astype(np.int64)
        used = -(-int(self._counters[state.N_FRONTIER_AT]) // int(self._parameters[state.P_GROUP_PAGES]))
        return Trace(
            rounds=self._rounds,
            rows=rows,
            distances=distances,
            slots=self._work.top_slots[0, : len(rows)].copy(),
            counters=self._counters.copy(),
            has_codes=bool(self._parameters[state.P_CODE_BYTES] > 0),
            frontier=chosen,
            frontier_used=used,
            group_scores=self._group_scores,
            group_ranks=self._group_ranks,
            told=self._told,
            left=self._left,
            pool=self._pool(),
            by_margin=self._by_margin(),
            estimates=self._estimates,
        )


def _rows_on(page: Bytes, layout: PageLayout) -> Int64s:
    """Row numbers of the vectors on a page."""
    count = int(page[VECTOR_COUNT_OFFSET : VECTOR_COUNT_OFFSET + 2].view("<u2")[0])
    stored = page[layout.rows_offset :][: count * layout.row_bytes]
    return stored.view(f"<u{layout.row_bytes}").astype(np.int64)
