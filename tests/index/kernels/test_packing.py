"""A swap that is wrongly priced makes pages worse while it reports them better.

What a pass says it removed must be what the energy fell by, each swap must be the best there is, and
pages must stay full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.packing import apply_swaps, page_centroids, propose_swaps
from tests.reference.packing_twin import best_gain, energy, means
from tests.reference.vector_sets import SEEDS, continuous, inverse, permutation, whole_numbers


class Pages:
    """A packing that a test improves."""

    def __init__(self, vectors: NDArray[Any], capacity: int, seed: int, width: int = 4) -> None:
        self.vectors, self.capacity = vectors, capacity
        rows = len(vectors)
        self.order = permutation(seed, rows)
        self.slots = inverse(self.order)
        random = np.random.default_rng(seed + 1)
        self.near = random.integers(0, rows, (rows, width)).astype(np.int32)
        self.near[np.arange(width) >= random.integers(0, width + 1, rows)[:, None]] = -1
        self.norms = (vectors.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
        self.centroids = np.empty((-(-rows // capacity), vectors.shape[1]), np.float32)
        page_centroids(vectors, self.order, capacity, 0, len(self.centroids), self.centroids)

    def swap(self, first: int, last: int, reach: float = 1e9) -> tuple[int, float]:
        """One pass over some rows."""
        proposals = np.full(len(self.order), -7, np.int32)
        propose_swaps(
            self.vectors, self.norms, self.near[first:last], self.order, self.slots, self.capacity,
            self.centroids, first, last, np.float32(reach), proposals,
        )  # fmt: skip
        assert (proposals[:first] == -7).all()
        assert (proposals[last:] == -7).all()
        swaps, removed = apply_swaps(
            self.vectors,
            self.norms,
            self.order,
            self.slots,
            self.capacity,
            self.centroids,
            first,
            last,
            proposals,
        )
        return int(swaps), float(removed)

    def energy(self) -> float:
        """By the twin."""
        return energy(self.vectors, self.order, self.capacity)


def make(seed: int, rows: int, dim: int, dtype: Any, capacity: int) -> Pages:
    vectors = (
        continuous(seed, rows, dim) if dtype is np.float32 else whole_numbers(seed, rows, dim, values=256)
    )
    return Pages(vectors, capacity, seed)


@settings(max_examples=30, deadline=None)
@given(
    SEEDS, st.integers(1, 60), st.integers(1, 20), st.integers(1, 9), st.sampled_from([np.uint8, np.float32])
)
def test_centroids_are_means(seed: int, rows: int, dim: int, capacity: int, dtype: Any) -> None:
    pages = make(seed, rows, dim, dtype, capacity)
    assert pages.centroids == pytest.approx(means(pages.vectors, pages.order, capacity), rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    SEEDS, st.integers(2, 80), st.integers(1, 16), st.integers(1, 9), st.sampled_from([np.uint8, np.float32]),
    st.sampled_from([0.1, 1e9]),
)  # fmt: skip
def test_the_energy_falls_by_what_a_pass_reports(
    seed: int, rows: int, dim: int, capacity: int, dtype: Any, reach: float
) -> None:
    pages = make(seed, rows, dim, dtype, capacity)
    before = pages.energy()
    swaps, removed = pages.swap(0, rows, reach)
    after = pages.energy()
    assert before - after == pytest.approx(removed, rel=1e-3, abs=1e-5 * before)
    assert (swaps > 0) == (removed > 0)
    assert sorted(pages.order.tolist()) == list(range(rows))
    assert (pages.slots == inverse(pages.order)).all()
    kept = means(pages.vectors, pages.order, capacity)
    assert pages.centroids == pytest.approx(kept, rel=1e-3, abs=1e-3 * float(np.abs(kept).max()))


@settings(max_examples=20, deadline=None)
@given(
    SEEDS, st.integers(2, 24), st.integers(1, 5), st.sampled_from([np.uint8, np.float32]), st.floats(0.05, 3)
)
def test_each_row_makes_the_best_swap_within_reach(
    seed: int, rows: int, capacity: int, dtype: Any, reach: float
) -> None:
    pages = make(seed, rows, 4, dtype, capacity)
    tolerance = 1e-4 * max(pages.energy(), 1e-3)
    for v in range(rows):
        least, most = (
            best_gain(pages.vectors, pages.near, pages.order, capacity, v, reach * factor)
            for factor in (0.999, 1.001)
        )
        _, removed = pages.swap(v, v + 1, reach)
        assert least - tolerance <= removed <= most + tolerance, v


def test_passes_reach_a_packing_that_no_swap_betters() -> None:
    pages = make(3, 60, 3, np.float32, 6)
    pages.near = np.tile(np.arange(60, dtype=np.int32), (60, 1))
    energies = [pages.energy()]
    for _ in range(30):
        swaps, _ = pages.swap(0, 60)
        energies.append(pages.energy())
        if swaps == 0:
            break
    assert swaps == 0
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.5 * energies[0]


def test_equal_vectors_are_not_swapped() -> None:
    pages = Pages(np.full((40, 8), 200, np.uint8), 5, 0)
    assert pages.swap(0, 40) == (0, 0.0)
