"""What the lists miss, no page can link to: they hold nearly all true neighbours, at true distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.errors import BuildCancelled
from pageann.index.builder.neighbours import LIST_WIDTH, neighbour_lists
from pageann.index.builder.parallel import one_blas_thread
from tests.reference.neighbour_twin import entries, nearest, squared_distances
from tests.reference.vector_sets import continuous, whole_numbers


def lists_of(vectors: NDArray[Any], threads: int = 2) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    with one_blas_thread():
        return neighbour_lists(vectors, 1, threads)


def require_sound(vectors: NDArray[Any], lists: tuple[NDArray[np.int32], NDArray[np.float32]]) -> None:
    """Ascending, true distances, no row in its own list or twice in one."""
    wide = vectors.astype(np.float64)
    size = float((wide**2).sum(axis=1).max())
    for v in range(len(vectors)):
        found = entries(lists, v)
        ids = [w for w, _ in found]
        assert v not in ids
        assert len(set(ids)) == len(ids)
        assert found == sorted(found, key=lambda pair: (pair[1], pair[0]))
        true = ((wide[ids] - wide[v]) ** 2).sum(axis=1)
        assert [d for _, d in found] == pytest.approx(true, rel=1e-4, abs=1e-5 * size)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_lists_hold_nearly_all_true_neighbours(dtype: str) -> None:
    vectors, _ = clustered(4000, 24, dtype=dtype, queries=1, seed=5, clusters=60, intrinsic_dim=12)
    lists = lists_of(vectors)
    wide = vectors.astype(np.float32)
    norms = (wide**2).sum(axis=1)
    found = 0
    for v in range(0, 4000, 8):
        distances = norms + norms[v] - 2 * (wide @ wide[v])
        distances[v] = np.inf
        true = np.argpartition(distances, 10)[:10]
        found += int(np.isin(true, lists[0][v]).sum())
    assert found / (500 * 10) > 0.97


def test_small_sets_have_exact_lists() -> None:
    """Up to one leaf every pair is compared."""
    vectors = whole_numbers(3, 700, 6, values=5)
    lists = lists_of(vectors)
    pairs = squared_distances(vectors)
    for v in range(700):
        others = [(w, float(pairs[v, w])) for w in range(700) if w != v]
        assert entries(lists, v) == nearest(others, LIST_WIDTH)


@pytest.mark.parametrize("rows", [1, 2, LIST_WIDTH, LIST_WIDTH + 1])
def test_fewer_rows_than_places(rows: int) -> None:
    vectors = continuous(rows, rows, 4)
    lists = lists_of(vectors)
    require_sound(vectors, lists)
    assert ((lists[0] >= 0).sum(axis=1) == min(rows - 1, LIST_WIDTH)).all()


def test_lists_of_several_trees_are_sound() -> None:
    vectors = continuous(9, 1500, 8)
    lists = lists_of(vectors)
    require_sound(vectors, lists)
    assert (lists[0] >= 0).all()


def test_duplicates_by_the_thousand() -> None:
    vectors = np.repeat(whole_numbers(4, 2, 6), 1500, axis=0)
    lists = lists_of(vectors)
    assert (lists[1] == 0).all()
    assert ((lists[0] < 1500) == (np.arange(3000) < 1500)[:, None]).all(), "each among its own equals"
    require_sound(vectors, lists)


def test_progress_reaches_the_end_and_cancels() -> None:
    vectors = continuous(2, 1200, 4)
    seen: list[tuple[int, int]] = []
    neighbour_lists(vectors, 0, 2, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    calls = 0

    def cancel(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        raise BuildCancelled("enough")

    with pytest.raises(BuildCancelled):
        neighbour_lists(vectors, 0, 2, cancel)
    assert calls == 1


def test_vectors_far_from_the_origin_have_the_same_neighbours() -> None:
    """Squared distances are differences of products a million times as large there."""
    vectors, _ = clustered(3000, 16, queries=1, seed=5, clusters=30, intrinsic_dim=12)
    shifted = vectors + np.float32(1000)
    vectors = shifted - np.float32(1000)  # to the same few digits
    near, far = lists_of(vectors)[0][:, :10], lists_of(shifted)[0][:, :10]
    common = np.mean([np.isin(far[v], near[v]).mean() for v in range(3000)])
    assert common > 0.97
