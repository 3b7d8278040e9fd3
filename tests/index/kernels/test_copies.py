"""Of the two pages of a vector the one is read that brings more of what a query wants, and never both.

Held against a twin of a few lines: pages found through places of any width, weights, the choice, and which
estimates are dropped once pages were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.index.kernels import state
from pageann.index.kernels.candidates import mark_visited
from pageann.index.kernels.copies import (
    cover_candidates,
    forget_visited,
    fuller_page,
    page_of_copy,
    weigh_candidates,
)
from pageann.index.kernels.state import Resident, Work
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace, WorkspaceSize
from tests.index.search.engines import Sample, build_sample, without_copies

SLOT = 1
ROWS, CAPACITY = 700, 16
OWN_PAGES = -(-ROWS // CAPACITY)
AHEAD = 3
"""Typical errors beyond the limit up to which candidates count, at first half as much."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return build_sample("copies", tmp_path_factory.mktemp("copies"))


@pytest.fixture
def opened(sample: Sample) -> Iterator[LoadedSegment]:
    segment = sample.load()
    yield segment
    segment.close()


@pytest.fixture
def work(opened: LoadedSegment) -> Iterator[Work]:
    workspace = Workspace(opened.resident, 2, WorkspaceSize(10, 40, 30, 16, 8))
    yield workspace.work
    workspace.close()


def placed(resident: Resident, pages: NDArray[np.int64], width: int) -> Resident:
    """With other places: the page of copies of each slot, -1 for none."""
    parameters = resident.parameters.copy()
    parameters[state.P_COPY_BYTES] = width
    numbers = np.where(pages < 0, 0, pages - OWN_PAGES + 1).astype("<u4")
    stored = numbers.view(np.uint8).reshape(-1, 4)[:, :width]
    places = np.concatenate([stored.ravel(), np.full(4, 255, np.uint8)])
    return resident._replace(parameters=parameters, copy_places=np.ascontiguousarray(places))


def fill(work: Work, random: np.random.Generator, exact_share: float = 0.2) -> int:
    """A pool of slots in no order, with scores that ascend."""
    count = work.pool_scores.shape[1]
    work.counters[SLOT] = 0
    work.visited[SLOT] = 0
    work.counters[SLOT, state.N_POOL] = count
    work.pool_scores[SLOT] = np.sort(random.integers(0, 60, count)).astype(np.float32)
    work.pool_slots[SLOT] = random.permutation(ROWS)[:count]
    is_exact = random.random(count) < exact_share
    work.pool_states[SLOT] = np.where(is_exact, state.EXACT, state.ESTIMATED)
    return count


@pytest.mark.parametrize(("width", "highest"), [(2, 65_535), (3, 2**24 - 1), (4, 2**31)])
def test_places_of_any_width(opened: LoadedSegment, width: int, highest: int) -> None:
    random = np.random.default_rng(width)
    pages = OWN_PAGES - 1 + random.integers(0, highest, ROWS, endpoint=True)
    pages[[0, 5, ROWS - 1]] = OWN_PAGES - 1 + highest
    pages[[1, 6]] = -1
    pages[pages < OWN_PAGES] = -1
    resident = placed(opened.resident, pages, width)
    assert [page_of_copy(resident, slot) for slot in range(ROWS)] == pages.tolist()
    assert page_of_copy(without_copies(opened).resident, 3) == -1


def twin_weights(work: Work, resident: Resident, limit: float, typical: float) -> NDArray[np.float64]:
    scores = work.pool_scores[SLOT].astype(np.float64)
    beyond = np.clip((scores - limit) / (AHEAD * typical), 0, 1)
    weights = np.where(scores <= limit, 1.0, 0.5 * (1 - beyond))
    return np.where(work.pool_states[SLOT] == state.EXACT, 0.0, weights)


@pytest.mark.parametrize("seed", range(8))
def test_the_page_with_more_of_the_candidates_is_chosen(opened: LoadedSegment, work: Work, seed: int) -> None:
    random = np.random.default_rng(seed)
    pages = OWN_PAGES + random.integers(-1, 12, ROWS)
    pages[pages < OWN_PAGES] = -1
    resident = placed(opened.resident, pages, 2)
    count = fill(work, random)
    limit, typical = np.float32(30), np.float32(4)
    last = weigh_candidates(resident, work, SLOT, limit, typical)
    weights = twin_weights(work, resident, 30, 4)
    is_far = (work.pool_scores[SLOT] >= limit + AHEAD * typical) & (work.pool_states[SLOT] != state.EXACT)
    assert last == int(np.argmax(is_far)) < count
    np.testing.assert_allclose(work.pool_weights[:last], weights[:last], rtol=1e-5)
    slots = work.pool_slots[SLOT]
    own, other = slots // CAPACITY, pages[slots]
    left = weights[:last].copy()
    chosen_others = 0
    for at in range(last):
        if left[at] == 0:
            continue
        page = fuller_page(work, at, last)
        sums = [left[own[:last] == own[at]].sum(), left[other[:last] == other[at]].sum()]
        if other[at] < 0:
            assert page == own[at]
        elif abs(sums[0] - sums[1]) > 1e-4:
            assert page == (other[at] if sums[1] > sums[0] else own[at])
        chosen_others += page == other[at]
        cover_candidates(work, at, last, page)
        left[(own[:last] == page) | (other[:last] == page)] = 0
        np.testing.assert_allclose(work.pool_weights[at:last], left[at:], rtol=1e-5)
    assert not left.any()
    assert chosen_others > 0


@pytest.mark.parametrize("seed", range(4))
def test_estimates_go_with_either_page(opened: LoadedSegment, work: Work, seed: int) -> None:
    random = np.random.default_rng(seed)
    count = fill(work, random)
    resident = opened.resident
    before: list[tuple[Any, ...]] = list(
        zip(work.pool_slots[SLOT], work.pool_states[SLOT], work.pool_scores[SLOT], strict=True)
    )
    asked = {3, 17, OWN_PAGES + 2, OWN_PAGES + 9}
    for page in asked:
        mark_visited(work, SLOT, page)
    forget_visited(resident, work, SLOT)
    kept = [
        each
        for each in before
        if each[1] == state.EXACT
        or not {int(each[0]) // CAPACITY, page_of_copy(resident, int(each[0]))} & asked
    ]
    left = int(work.counters[SLOT, state.N_POOL])
    assert left < count
    found = zip(
        work.pool_slots[SLOT, :left],
        work.pool_states[SLOT, :left],
        work.pool_scores[SLOT, :left],
        strict=True,
    )
    assert list(found) == kept
