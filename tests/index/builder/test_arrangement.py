"""A vector that lies elsewhere than its group says is scored by the wrong centroid, and never read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.builder.arrange import Arrangement, arrange, level_centroids
from pageann.index.builder.neighbours import neighbour_lists
from tests.reference.packing_twin import energy, means
from tests.reference.vector_sets import SEEDS, continuous


def arranged(vectors: NDArray[Any], group_slots: int, capacity: int, threads: int = 1) -> Arrangement:
    ids, _ = neighbour_lists(vectors, 0, threads)
    return arrange(vectors, ids, group_slots, capacity, 0, threads)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 300), st.integers(1, 9), st.integers(1, 4))
def test_groups_hold_their_slots(seed: int, rows: int, capacity: int, group_pages: int) -> None:
    vectors = continuous(seed, rows, 4)
    group_slots = capacity * group_pages
    made = arranged(vectors, group_slots, capacity)
    assert sorted(made.order.tolist()) == list(range(rows))
    assert made.order.dtype == np.int32
    assert made.centroids == pytest.approx(means(vectors, made.order, group_slots), rel=1e-4, abs=1e-4)
    assert made.residual_energy == pytest.approx(energy(vectors, made.order, group_slots) / rows, abs=1e-4)


def test_pages_within_groups_are_compact() -> None:
    vectors, _ = clustered(1500, 12, queries=1, seed=7, clusters=20)
    made = arranged(vectors, 40, 10)
    shuffled = made.order.copy()
    random = np.random.default_rng(0)
    for first in range(0, 1500, 40):
        random.shuffle(shuffled[first : first + 40])
    assert energy(vectors, made.order, 10) < 0.95 * energy(vectors, shuffled, 10)


def test_groups_that_follow_each_other_are_near() -> None:
    """Runs of 32 groups are the router's cells: they must be far more compact than runs of any others."""
    vectors, _ = clustered(4000, 10, queries=1, seed=7, clusters=40)
    made = arranged(vectors, 4, 4, threads=2)
    in_order = np.arange(1000, dtype=np.int32)
    by_chance = np.random.default_rng(0).permutation(1000).astype(np.int32)
    assert energy(made.centroids, in_order, 32) < 0.7 * energy(made.centroids, by_chance, 32)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 2200))
def test_levels_are_means_of_32(seed: int, count: int) -> None:
    centroids = continuous(seed, count, 3)
    levels = level_centroids(centroids)
    assert levels[0] is centroids
    assert len(levels[-1]) <= 32
    for below, above in pairwise(levels):
        assert len(below) > 32
        expected = means(below, np.arange(len(below), dtype=np.int32), 32)
        assert above == pytest.approx(expected, rel=1e-4, abs=1e-5)
