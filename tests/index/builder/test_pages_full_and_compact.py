"""Half-empty pages and pages of leftovers cost reads: all are full but the last, and all are compact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.errors import BuildCancelled
from pageann.index.builder.neighbours import neighbour_lists
from pageann.index.builder.packing import (
    centroids_of,
    pack,
    squared_norms,
)
from pageann.index.builder.trees import balanced_order, tree_nodes
from tests.reference.packing_twin import energy, means
from tests.reference.partition_twin import node_sizes
from tests.reference.vector_sets import SEEDS, continuous, permutation, whole_numbers


def neighbours_of(vectors: NDArray[Any]) -> NDArray[np.int32]:
    ids, _ = neighbour_lists(vectors, 0, 1)
    return ids


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_swaps_make_pages_more_compact_than_the_tree_alone(dtype: str) -> None:
    vectors, _ = clustered(2003, 16, dtype=dtype, queries=1, seed=6, clusters=40)
    packing = pack(vectors, neighbours_of(vectors), 10, 3, 2)
    assert sorted(packing.order.tolist()) == list(range(2003))
    tree = energy(vectors, balanced_order(vectors, 10, 10, 3, 1), 10) / 2003
    packed = energy(vectors, packing.order, 10) / 2003
    assert packed < 0.97 * tree
    assert packing.residual_energy == pytest.approx(packed, rel=1e-3)
    scale = float(np.abs(packing.centroids).max())
    assert packing.centroids == pytest.approx(means(vectors, packing.order, 10), abs=1e-4 * scale)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 90), st.integers(1, 100), st.booleans())
def test_any_size_packs(seed: int, rows: int, capacity: int, equal: bool) -> None:
    vectors = np.ones((rows, 3), np.float32) if equal else continuous(seed, rows, 3)
    packing = pack(vectors, neighbours_of(vectors), capacity, seed, 1)
    assert sorted(packing.order.tolist()) == list(range(rows))
    assert packing.centroids.shape == (-(-rows // capacity), 3)
    assert packing.residual_energy == pytest.approx(energy(vectors, packing.order, capacity) / rows, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 90))
def test_the_tree_is_planned_as_it_is_cut(rows: int, unit: int, leaf: int) -> None:
    planned = tree_nodes(rows, unit, leaf)
    assert [last - first for first, last in planned] == node_sizes(rows, unit, leaf)
    assert [first for first, _ in planned] == [0, *(last for _, last in planned[:-1])]
    assert planned[-1][1] == rows


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 60), st.integers(1, 8), st.sampled_from([np.uint8, np.float32]))
def test_norms_and_centroids(seed: int, rows: int, capacity: int, dtype: Any) -> None:
    vectors = whole_numbers(seed, rows, 5, dtype, values=200)
    wide = vectors.astype(np.float64)
    assert (squared_norms(vectors, 2) == (wide**2).sum(axis=1)).all()
    order = permutation(seed, rows)
    assert centroids_of(vectors, order, capacity) == pytest.approx(means(vectors, order, capacity), rel=1e-5)


def test_norms_of_more_rows_than_one_block() -> None:
    vectors = whole_numbers(1, 20_001, 2)
    assert (squared_norms(vectors, 2) == (vectors.astype(np.int64) ** 2).sum(axis=1)).all()


def test_progress_counts_up_and_cancels() -> None:
    vectors = continuous(2, 300, 4)
    near = neighbours_of(vectors)
    seen: list[tuple[int, int]] = []
    pack(vectors, near, 10, 0, 1, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert all(0 < done <= total for done, total in seen)

    def cancel(done: int, total: int) -> None:
        raise BuildCancelled("enough")

    with pytest.raises(BuildCancelled):
        pack(vectors, near, 10, 0, 1, cancel)
