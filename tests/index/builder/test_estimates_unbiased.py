"""An estimate that errs to one side makes codes of different lengths, and exact distances, incomparable.

The estimate from a vector's code must err to both sides alike, and less with more bytes; the router's
codes must stand where its kernels look for them.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.builder.arrange import Arrangement, arrange, level_centroids
from pageann.index.builder.coding import (
    RouterCodes,
    VectorCodes,
    code_router,
    code_vectors,
    group_spreads,
    lane_major,
)
from pageann.index.builder.navigation import Navigation, navigation_view
from pageann.index.builder.neighbours import neighbour_lists
from pageann.index.builder.parallel import one_blas_thread
from pageann.types import Metric
from tests.reference.code_twin import lane_major_twin, lane_minor
from tests.reference.vector_sets import SEEDS

ROWS, DIM, GROUP = 2998, 16, 10


class Coded:
    """A small set, arranged and routed."""

    def __init__(self, metric: Metric, folder: Path) -> None:
        self.metric = metric
        vectors, _ = clustered(ROWS, DIM, queries=1, seed=9, clusters=40, intrinsic_dim=8)
        self.navigation: Navigation = navigation_view(vectors, metric, folder)
        with one_blas_thread():
            ids, _ = neighbour_lists(self.navigation.array, 0, 2)
            self.arrangement: Arrangement = arrange(self.navigation.array, ids, GROUP, GROUP, 0, 2)
            self.spreads = group_spreads(self.navigation, self.arrangement, GROUP, 2)
            self.router: RouterCodes = code_router(self.arrangement, self.spreads, 6, rotate=True, seed=0)

    def codes(self, code_bytes: int, threads: int = 2) -> VectorCodes:
        with one_blas_thread():
            return code_vectors(
                self.navigation, self.arrangement, self.router.coded, GROUP, code_bytes, self.metric,
                error_weight=1.0, rotate=True, seed=0, threads=threads,
            )  # fmt: skip

    def points(self) -> NDArray[np.float64]:
        """Vectors slot by slot."""
        return np.asarray(self.navigation.array[self.arrangement.order], np.float64)


@pytest.fixture(scope="module", params=list(Metric), ids=lambda metric: metric.label)
def coded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Coded:
    """Under each metric."""
    return Coded(request.param, tmp_path_factory.mktemp("coding"))


def estimates(coded: Coded, made: VectorCodes, queries: NDArray[np.float64]) -> NDArray[np.float64]:
    """The estimated score of each slot's vector for a query of its own."""
    centres = coded.router.coded[np.arange(ROWS) // GROUP].astype(np.float64)
    residuals = made.quantizer.decode(made.codes[:, :-1]).astype(np.float64)
    constants = made.low + made.step * made.codes[:, -1].astype(np.float64)
    if coded.metric is Metric.IP:
        near = -2 * (queries * centres).sum(axis=1)
    else:
        near = ((queries - centres) ** 2).sum(axis=1)
    return np.asarray(near + constants - 2 * (queries * residuals).sum(axis=1))


def errors(coded: Coded, code_bytes: int) -> NDArray[np.float64]:
    """Estimate minus exact score of each vector, for a query near it; under ip for one that is not.

    (The inner product of a vector with itself is larger than with what its code stands for, which is
    shorter; queries under ip are no neighbours of what they look for.)
    """
    points = coded.points()
    random = np.random.default_rng(code_bytes)
    distance = np.sqrt(((points - points[np.roll(np.arange(ROWS), 1)]) ** 2).sum(axis=1).mean())
    queries = points + random.standard_normal(points.shape) * distance / (3 * np.sqrt(DIM))
    if coded.metric is Metric.IP:
        queries = points[random.permutation(ROWS)]
        exact = -2 * (queries * points).sum(axis=1)
    else:
        exact = ((queries - points) ** 2).sum(axis=1)
    return np.asarray(estimates(coded, coded.codes(code_bytes), queries) - exact)


def test_estimates_err_to_both_sides_alike(coded: Coded) -> None:
    for code_bytes in (2, 4, 8):
        found = errors(coded, code_bytes)
        spread = float(found.std())
        assert abs(float(found.mean())) < 5 * spread / np.sqrt(ROWS), code_bytes


def test_estimates_are_better_with_more_bytes(coded: Coded) -> None:
    sizes = [float(np.square(errors(coded, code_bytes)).mean()) for code_bytes in (1, 2, 4, 8)]
    for few, more in itertools.pairwise(sizes):
        assert more < 0.8 * few


def test_constants_lie_within_a_byte(coded: Coded) -> None:
    made = coded.codes(4)
    assert made.codes.shape == (ROWS, 5)
    assert np.float32(made.low) == made.low, "kept as float32"
    assert np.float32(made.step) == made.step
    if coded.metric is Metric.IP:
        assert (made.low, made.step) == (0, 0)
        assert not made.codes[:, -1].any()
        return
    decoded = made.quantizer.decode(made.codes[:, :-1]).astype(np.float64)
    centres = coded.router.coded[np.arange(ROWS) // GROUP].astype(np.float64)
    error = coded.points() - centres - decoded
    exact = (decoded**2).sum(axis=1) - (error**2).sum(axis=1) + 2 * (centres * decoded).sum(axis=1)
    inside = (exact > made.low) & (exact < made.low + 255 * made.step)
    assert inside.mean() > 0.99
    gap = made.low + made.step * made.codes[:, -1] - exact
    assert np.abs(gap[inside]).max() <= 0.51 * made.step


def test_threads_change_no_code(coded: Coded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pageann.index.builder.coding._BLOCK_BYTES", 30_000)
    one, three = coded.codes(4, threads=1), coded.codes(4, threads=3)
    assert (one.codes == three.codes).all()
    assert (one.low, one.step) == (three.low, three.step)
    assert (coded.codes(4).codes == one.codes).all()


def test_spreads_are_mean_squared_residuals(coded: Coded) -> None:
    points = coded.points()
    expected = [
        ((points[first : first + GROUP] - points[first : first + GROUP].mean(axis=0)) ** 2).sum(axis=1).mean()
        for first in range(0, ROWS, GROUP)
    ]
    assert coded.spreads == pytest.approx(expected, rel=1e-3)


def test_router_codes_stand_level_by_level(coded: Coded) -> None:
    router = coded.router
    levels = level_centroids(coded.arrangement.centroids)
    assert router.level_units == tuple(len(level) for level in levels) == (300, 10)
    width = router.quantizer.code_bytes + 1
    for level, (units, offset) in enumerate(zip(router.level_units, router.level_offsets, strict=True)):
        codes = lane_minor(router.codes[offset:], units, width, 32)
        with one_blas_thread():
            assert (codes[:, :-1] == router.quantizer.encode(levels[level])).all()
        expected = np.rint(coded.spreads / router.spread_step) if level == 0 else np.zeros(units)
        assert (codes[:, -1] == expected).all()
        if level == 0:
            assert router.coded == pytest.approx(router.quantizer.decode(codes[:, :-1]), rel=1e-5, abs=1e-5)
    assert len(router.codes) == (320 + 32) * width


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 150), st.integers(1, 6), st.integers(1, 80))
def test_lanes_are_laid_out_as_the_format_says(seed: int, rows: int, width: int, group_slots: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 256, (rows, width)).astype(np.uint8)
    flat = lane_major(codes, group_slots)
    assert (flat == lane_major_twin(codes, group_slots)).all()
    assert (lane_minor(flat, rows, width, group_slots) == codes).all()
