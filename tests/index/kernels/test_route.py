"""A router that loses the nearest groups cannot be made good by anything that follows it.

When it may look everywhere it must find what a full ranking of all coded centroids finds; when it may
not, what it does find must be scored as the ranking scores it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.kernels import state
from pageann.index.kernels.candidates import scan_pages
from pageann.index.kernels.query import load_query
from pageann.index.kernels.route import group_score, route_query
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace
from pageann.types import Metric
from tests.reference.code_twin import LANES, WORDS, lane_minor
from tests.reference.navigation_twin import (
    navigation_query,
    score,
    stored_codebook,
    stored_rotation,
)
from tests.reference.small_segment import SmallSegment, build_small, small_shape, workspace_for

DIM = 10
ROWS = 4203
"""1,051 groups of 4 (the last one short), 33 cells, 2 units above."""
METRICS = [Metric.L2, Metric.IP]


@pytest.fixture(scope="module", params=METRICS, ids=lambda metric: metric.label)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmallSegment, NDArray[Any]]:
    """A segment with a router of three levels, and queries."""
    vectors, queries = clustered(ROWS, DIM, queries=6, seed=8, clusters=30, intrinsic_dim=5)
    folder = tmp_path_factory.mktemp("route") / "segment"
    return build_small(folder, vectors, request.param, small_shape(DIM)), queries


@pytest.fixture(params=[0, 4], ids=["centroids-alone", "with-codes"])
def opened(
    request: pytest.FixtureRequest, built: tuple[SmallSegment, NDArray[Any]]
) -> Iterator[LoadedSegment]:
    """Without codes groups carry a bias for their spread (not under ip)."""
    segment = built[0].load(code_bytes=request.param)
    assert segment.resident.parameters[state.P_LEVELS] == 3
    yield segment
    segment.close()


def ranking(segment: LoadedSegment, workspace: Workspace, slot: int) -> NDArray[np.float32]:
    """The score of every group by the query's tables, bias included."""
    resident, work = segment.resident, workspace.work
    groups = int(resident.parameters[state.P_LEVEL_UNITS])
    width = int(resident.parameters[state.P_ROUTER_BYTES]) + 1
    offset = int(resident.parameters[state.P_LEVEL_OFFSET])
    codes = lane_minor(resident.router_codes[offset:], -(-groups // LANES) * LANES, width, LANES)[:groups]
    halves = work.tables[slot, state.T_ROUTER].reshape(-1, 2, 2, WORDS)[:, :, 0]
    rows = np.arange(width - 1)
    sums = halves[rows, 0, codes[:, :-1] & 15].sum(axis=1, dtype=np.float32)
    sums += halves[rows, 1, codes[:, :-1] >> 4].sum(axis=1, dtype=np.float32)
    base, step = work.table_scalars[slot, state.T_ROUTER]
    bias = resident.scalars[state.S_BIAS_STEP] * codes[:, -1].astype(np.float32)
    return np.asarray(base + step * sums + bias, np.float32)


def routed(
    segment: LoadedSegment, query: NDArray[Any], groups: int, cells: int, start: int, slot: int = 1
) -> tuple[Workspace, NDArray[np.int32], NDArray[np.float32]]:
    """(workspace, frontier, its scores) of a query."""
    segment.resident.parameters[state.P_START_LEVEL] = start
    workspace = workspace_for(segment, groups=groups, cells=cells)
    load_query(segment.resident, workspace.work, slot, query)
    route_query(segment.resident, workspace.work, slot)
    found = int(workspace.work.counters[slot, state.N_FRONTIER])
    return (
        workspace,
        workspace.work.frontier[slot, :found].copy(),
        workspace.work.frontier_scores[slot, :found].copy(),
    )


@pytest.mark.parametrize(("start", "cells"), [(0, 1), (1, 33), (2, 40)])
@pytest.mark.parametrize("groups", [1, 37, 10**6])
def test_all_cells_give_the_full_ranking(
    built: tuple[SmallSegment, NDArray[Any]], opened: LoadedSegment, start: int, cells: int, groups: int
) -> None:
    everything = int(opened.resident.parameters[state.P_LEVEL_UNITS])
    assert everything == -(-ROWS // 4)
    for query in built[1]:
        workspace, frontier, scores = routed(opened, query, groups, cells, start)
        whole = ranking(opened, workspace, 1)
        workspace.close()
        kept = min(groups, everything)
        assert len(frontier) == kept
        assert scores == pytest.approx(np.sort(whole)[:kept], rel=1e-4, abs=1e-4)
        assert scores == pytest.approx(whole[frontier], rel=1e-4, abs=1e-4)
        assert len(set(frontier.tolist())) == kept
        pairs = list(zip(scores.tolist(), frontier.tolist(), strict=True))
        assert pairs == sorted(pairs)


@pytest.mark.parametrize("cells", [1, 2, 7])
def test_few_cells_give_whole_cells_of_it(
    built: tuple[SmallSegment, NDArray[Any]], opened: LoadedSegment, cells: int
) -> None:
    """From the top of three levels, with fewer cells than a level of units is scored by at least."""
    for query in built[1]:
        workspace, frontier, scores = routed(opened, query, 10**6, cells, 2)
        whole = ranking(opened, workspace, 1)
        scored = int(workspace.work.counters[1, state.N_CODES])
        workspace.close()
        assert scores == pytest.approx(whole[frontier], rel=1e-4, abs=1e-4)
        found = sorted(set((frontier // LANES).tolist()))
        assert len(found) == cells
        full = [
            group for cell in found for group in range(cell * LANES, (cell + 1) * LANES) if group < len(whole)
        ]
        assert sorted(frontier.tolist()) == full
        assert scored == 2 + 33 + len(full)


def test_scores_are_those_of_coded_centroids(
    built: tuple[SmallSegment, NDArray[Any]], opened: LoadedSegment
) -> None:
    segment, queries = built
    resident = opened.resident
    metric = Metric.parse(segment.entry.metric)
    book, rotation = stored_codebook(resident, "router"), stored_rotation(resident, "router", DIM)
    groups = int(resident.parameters[state.P_LEVEL_UNITS])
    width = book.code_bytes + 1
    codes = lane_minor(resident.router_codes, groups, width, LANES)
    decoded = book.decode(codes[:, :-1]).astype(np.float64)
    for query in queries:
        workspace, _, _ = routed(opened, query, 1, 1, 0)
        step = float(workspace.work.table_scalars[1, state.T_ROUTER, 1])
        asked = rotation @ navigation_query(query, segment.vectors.dtype, metric)
        expected = score(asked, decoded, metric)
        pairs = [group_score(resident, workspace.work, 1, group) for group in range(groups)]
        workspace.close()
        found = np.array(pairs)
        assert (
            np.abs(found[:, 0] - expected).max() <= len(book.words) * step / 2 + 1e-4 * np.abs(expected).max()
        )
        assert found[:, 1] == pytest.approx(resident.scalars[state.S_BIAS_STEP] * codes[:, -1], rel=1e-6)


def test_estimates_are_scored_from_the_codes_of_every_vector(
    built: tuple[SmallSegment, NDArray[Any]],
) -> None:
    """The pool holds the best of centroid score + constant - 2 <query, residual>, to the tables' steps."""
    segment, queries = built
    metric = Metric.parse(segment.entry.metric)
    with_codes = segment.load(code_bytes=4)
    resident = with_codes.resident
    router, book = stored_codebook(resident, "router"), stored_codebook(resident, "code")
    groups = int(resident.parameters[state.P_LEVEL_UNITS])
    centroids = router.decode(lane_minor(resident.router_codes, groups, router.code_bytes + 1, LANES)[:, :-1])
    codes = lane_minor(resident.page_codes, ROWS, book.code_bytes + 1, 4)
    for query in queries[:3]:
        workspace, _, _ = routed(with_codes, query, 10**6, 33, 1)
        scan_pages(resident, workspace.work, 1)
        work = workspace.work
        asked = navigation_query(query, segment.vectors.dtype, metric)
        near = score(stored_rotation(resident, "router", DIM) @ asked, centroids.astype(np.float64), metric)
        residuals = book.decode(codes[:, :-1]).astype(np.float64)
        expected = near[np.arange(ROWS) // 4] - 2 * residuals @ (
            stored_rotation(resident, "code", DIM) @ asked
        )
        expected += resident.scalars[state.S_CODE_LOW] + resident.scalars[state.S_CODE_STEP] * codes[:, -1]
        steps = work.table_scalars[1, [state.T_ROUTER, state.T_CODE], 1].astype(float)
        bound = steps @ [len(router.words) / 2, len(book.words) / 2] + 1e-3
        count = int(work.counters[1, state.N_POOL])
        slots, scores = work.pool_slots[1, :count].copy(), work.pool_scores[1, :count].copy()
        workspace.close()
        assert count == work.pool_scores.shape[1]
        assert np.abs(scores - expected[slots]).max() <= bound
        assert np.abs(scores - np.sort(expected)[:count]).max() <= bound
        assert (np.diff(scores) >= 0).all()
        assert len(set(slots.tolist())) == count
    with_codes.close()
