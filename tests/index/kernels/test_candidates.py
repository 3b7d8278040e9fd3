"""A representative that is estimated wrongly, or twice, sends reads to pages that hold nothing near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.kernels import state
from pageann.index.kernels.candidates import is_visited, mark_visited, offer_representatives, scan_pages
from pageann.index.kernels.query import load_query
from pageann.index.kernels.route import route_query
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace
from pageann.types import Metric
from tests.reference.code_twin import LANES, lane_minor
from tests.reference.format_reader import Page, read_page_file
from tests.reference.navigation_twin import navigation_query, score, stored_codebook, stored_rotation
from tests.reference.small_segment import SmallSegment, build_small, small_shape, workspace_for

DIM, ROWS, SLOT = 10, 803, 1


@dataclass
class Walk:
    """A segment whose pages carry 40 representatives each, and a query on it."""

    small: SmallSegment
    segment: LoadedSegment
    workspace: Workspace
    query: NDArray[Any]
    content: NDArray[np.uint8]
    pages: list[Page]

    def offer(self, page: int, content: NDArray[np.uint8] | None = None) -> int:
        """Let the kernel see a page, with the bytes behind it readable as in a buffer."""
        data = self.content if content is None else content
        buffer = np.concatenate([data[(page + 1) * 4096 : (page + 2) * 4096], np.zeros(LANES, np.uint8)])
        return int(
            offer_representatives(self.segment.resident, self.workspace.work, SLOT, buffer.ctypes.data)
        )

    def pool(self) -> dict[int, tuple[float, int]]:
        """Slot -> (score, state), of a pool that must be sorted and without repeats."""
        work = self.workspace.work
        count = int(work.counters[SLOT, state.N_POOL])
        slots, scores = work.pool_slots[SLOT, :count], work.pool_scores[SLOT, :count]
        assert len(set(slots.tolist())) == count
        assert (np.diff(scores) >= 0).all()
        states = work.pool_states[SLOT, :count].tolist()
        return dict(zip(slots.tolist(), zip(scores.tolist(), states, strict=True), strict=True))

    def estimates(self, page: Page) -> tuple[NDArray[np.float64], float]:
        """By the twin, of the representatives of a page; and how far the tables may be off."""
        resident, work = self.segment.resident, self.workspace.work
        metric = Metric.parse(self.small.entry.metric)
        router, book = stored_codebook(resident, "router"), stored_codebook(resident, "rep")
        groups = int(resident.parameters[state.P_LEVEL_UNITS])
        centroids = router.decode(
            lane_minor(resident.router_codes, groups, router.code_bytes + 1, LANES)[:, :-1]
        ).astype(np.float64)
        asked = navigation_query(self.query, self.small.vectors.dtype, metric)
        near = score(stored_rotation(resident, "router", DIM) @ asked, centroids, metric)
        residuals = book.decode(page.codes[:, :-1]).astype(np.float64)
        found = near[page.slots // 4] - 2 * residuals @ (stored_rotation(resident, "rep", DIM) @ asked)
        found += resident.scalars[state.S_REP_LOW] + resident.scalars[state.S_REP_STEP] * page.codes[:, -1]
        steps = work.table_scalars[SLOT, [state.T_ROUTER, state.T_REP], 1].astype(float)
        return found, float(steps @ [len(router.words) / 2, len(book.words) / 2]) + 1e-3


@pytest.fixture(scope="module", params=list(Metric), ids=lambda metric: metric.label)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmallSegment, NDArray[Any]]:
    """A segment of pages with representatives, and a query."""
    vectors, queries = clustered(ROWS, DIM, queries=1, seed=8, clusters=30, intrinsic_dim=5)
    shape = small_shape(DIM, rep_bytes=4, rep_capacity=40)
    folder = tmp_path_factory.mktemp("walk") / "segment"
    return build_small(folder, vectors, request.param, shape), queries[0]


def opened(built: tuple[SmallSegment, NDArray[Any]], code_bytes: int, effort: int) -> Iterator[Walk]:
    """The walk, with its query loaded."""
    small, query = built
    segment = small.load(code_bytes)
    workspace = workspace_for(segment, effort=effort)
    load_query(segment.resident, workspace.work, SLOT, query)
    content = np.fromfile(small.folder / "pages.bin", np.uint8)
    yield Walk(small, segment, workspace, query, content, read_page_file(content.tobytes()).pages)
    workspace.close()
    segment.close()


@pytest.fixture
def walk(built: tuple[SmallSegment, NDArray[Any]]) -> Iterator[Walk]:
    """Nothing but the router is resident, and the pool has room for everything."""
    yield from opened(built, 0, ROWS)


@pytest.fixture
def narrow(built: tuple[SmallSegment, NDArray[Any]]) -> Iterator[Walk]:
    """The same, with room for 12 candidates."""
    yield from opened(built, 0, 12)


@pytest.fixture
def coarse(built: tuple[SmallSegment, NDArray[Any]]) -> Iterator[Walk]:
    """Coarser codes of all vectors are resident too."""
    yield from opened(built, 4, ROWS)


def test_representatives_are_estimated_from_their_codes(walk: Walk) -> None:
    for number in (0, 7, len(walk.pages) - 1):
        before = walk.pool()
        scored = int(walk.workspace.work.counters[SLOT, state.N_CODES])
        page = walk.pages[number]
        expected, bound = walk.estimates(page)
        assert len(page.slots) == 40
        assert walk.offer(number) == 0
        pool = walk.pool()
        assert set(pool) == set(before) | set(page.slots.tolist())
        found = np.array([pool[slot][0] for slot in page.slots.tolist()])
        assert np.abs(found - expected).max() <= bound
        assert {pool[slot][1] for slot in page.slots.tolist()} == {state.REFINED}
        assert walk.workspace.work.counters[SLOT, state.N_CODES] == scored + 40
        assert walk.offer(number) == 0
        assert walk.pool() == pool, "a second copy changes nothing"


def test_a_full_pool_keeps_the_best(walk: Walk, narrow: Walk) -> None:
    for number in (0, 3, 9, 20, 40):
        walk.offer(number)
        narrow.offer(number)
    best = sorted((value, slot) for slot, (value, _) in walk.pool().items())[:12]
    assert sorted((value, slot) for slot, (value, _) in narrow.pool().items()) == best


def test_vectors_of_pages_that_were_asked_for_are_left_out(walk: Walk) -> None:
    page = walk.pages[5]
    asked_for = sorted(set((page.slots[:10] // 4).tolist()))
    for number in asked_for:
        mark_visited(walk.workspace.work, SLOT, number)
    walk.offer(5)
    assert set(walk.pool()) == {slot for slot in page.slots.tolist() if slot // 4 not in asked_for}


def test_finer_estimates_take_the_place_of_coarse_ones(coarse: Walk) -> None:
    resident, work = coarse.segment.resident, coarse.workspace.work
    route_query(resident, work, SLOT)
    scan_pages(resident, work, SLOT)
    before = coarse.pool()
    assert set(before) == set(range(ROWS))
    assert {kind for _, kind in before.values()} == {state.ESTIMATED}
    page = coarse.pages[5]
    expected, bound = coarse.estimates(page)
    coarse.offer(5)
    after = coarse.pool()
    named = dict(zip(page.slots.tolist(), expected.tolist(), strict=True))
    for slot, (value, kind) in after.items():
        if slot in named:
            assert kind == state.REFINED
            assert abs(value - named[slot]) <= bound
        else:
            assert (value, kind) == before[slot]
    assert set(after) == set(before)


def test_a_slot_that_does_not_exist_is_a_fault(walk: Walk) -> None:
    damaged = walk.content.copy()
    offset = 4096 + walk.segment.resident.parameters[state.P_PAGE_LAYOUT + state.LAYOUT_REP_SLOTS]
    damaged[offset : offset + 4] = np.array([ROWS], "<u4").view(np.uint8)
    assert walk.offer(0, damaged) == state.FAULT_SLOT


class Tables(NamedTuple):
    """The one part of a workspace that these kernels use."""

    visited: NDArray[np.int64]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**41)), max_size=60))
def test_visited_pages_are_remembered(steps: list[tuple[bool, int]]) -> None:
    """A table of 64 places, up to nearly full, with keys that collide."""

    seen: set[int] = set()
    table = Tables(np.zeros((2, 64), np.int64))
    for mark, page in steps:
        assert bool(is_visited(table, 1, page)) == (page in seen)
        if mark:
            mark_visited(table, 1, page)
            seen.add(page)
    assert all(is_visited(table, 1, page) for page in seen)
    assert not table.visited[0].any()
    assert int((table.visited[1] != 0).sum()) == len(seen)
