"""A bisection that is unbalanced, loses a row or depends on who runs it spoils pages and the build's promise.

Nodes must have the sizes that arithmetic says, hold every row once, and split as the twin splits.
"""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.partition import bisect_node, bisect_subtree, split_rows
from tests.reference.partition_twin import node_sizes, split_node
from tests.reference.vector_sets import SEEDS, continuous, permutation, whole_numbers


def subtree(
    vectors: NDArray[np.generic], rows: NDArray[np.int32], unit: int, leaf: int, seed: int
) -> NDArray[np.int32]:
    """``rows`` bisected whole."""
    rows = rows.copy()
    bisect_subtree(vectors, rows, 0, len(rows), unit, leaf, 0, seed, np.empty(len(rows), np.float32))
    return rows


def nodes(rows: NDArray[np.int32], sizes: list[int]) -> list[list[int]]:
    """The members of each node, sorted."""
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    return [sorted(part.tolist()) for part in parts]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 300), st.integers(1, 12), st.data())
def test_a_node_splits_as_the_twin_splits_it(seed: int, count: int, dim: int, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, 20))
    left = data.draw(st.integers(1, count - 1))
    vectors = continuous(seed, low + count + 5, dim)
    rows = permutation(seed, len(vectors))
    twin = split_node(vectors, rows, low, low + count, left, seed)
    assume(twin.margin > 1e-4)
    before = rows.copy()
    bisect_node(vectors, rows, low, low + count, left, 0, seed, np.empty(len(rows), np.float32))
    assert set(rows[low : low + left].tolist()) == twin.left
    assert sorted(rows[low : low + count]) == sorted(before[low : low + count])
    halves = (rows[low : low + left], rows[low + left : low + count])
    for half in halves:
        kept = [row for row in before[low : low + count].tolist() if row in set(half.tolist())]
        assert half.tolist() == kept, "what was in order stays in order"
    assert (rows[:low] == before[:low]).all()
    assert (rows[low + count :] == before[low + count :]).all()


def test_a_large_node_is_split_by_a_sample() -> None:
    """Above 1,024 rows the direction comes from a sample, drawn with repetition."""
    clear = 0
    for seed in range(8):
        vectors = continuous(seed, 3000, 6)
        rows = permutation(seed, 3000)
        twin = split_node(vectors, rows, 100, 2900, 1000, seed)
        if twin.margin > 1e-6:
            clear += 1
            bisect_node(vectors, rows, 100, 2900, 1000, 0, seed, np.empty(3000, np.float32))
            assert set(rows[100:1100].tolist()) == twin.left, seed
    assert clear >= 3


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 400), st.integers(1, 40), st.integers(1, 80), st.booleans())
def test_nodes_are_balanced_and_hold_every_row_once(
    seed: int, count: int, unit: int, leaf: int, ties: bool
) -> None:
    vectors = whole_numbers(seed, count, 3, values=2) if ties else continuous(seed, count, 3)
    rows = subtree(vectors, permutation(seed, count), unit, leaf, seed)
    assert sorted(rows.tolist()) == list(range(count))
    sizes = node_sizes(count, unit, leaf)
    assert sum(sizes) == count
    assert all(size % unit == 0 for size in sizes[:-1]), "splits fall on multiples of the unit"
    assert max(sizes) <= max(leaf, unit)
    assert len(sizes) == 1 or min(sizes[:-1]) * 2 + 2 * unit >= max(sizes)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 300), st.integers(1, 20), st.integers(1, 60))
def test_finer_nodes_lie_within_coarser_ones(seed: int, count: int, unit: int, leaf: int) -> None:
    """A node's split depends on the node alone, so stopping earlier gives the same coarse nodes."""
    vectors, start = continuous(seed, count, 4), permutation(seed, count)
    coarse_sizes = node_sizes(count, unit, 2 * leaf)
    coarse = nodes(subtree(vectors, start, unit, 2 * leaf, seed), coarse_sizes)
    assert nodes(subtree(vectors, start, unit, leaf, seed), coarse_sizes) == coarse


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(70, 300))
def test_halves_are_farther_from_each_other_than_chance(seed: int, count: int) -> None:
    """Two separate clouds of known sizes must come apart exactly."""
    left = count // 64 * 32
    vectors = continuous(seed, count, 8)
    order = permutation(seed, count)
    vectors[order[:left]] += np.float32(40)
    rows = subtree(vectors, np.arange(count, dtype=np.int32), left, left, seed)
    cloud = set(order[:left].tolist())
    first = set(rows[:left].tolist())
    assert first == cloud or not first & cloud


def test_the_same_call_gives_the_same_order_and_another_seed_another() -> None:
    vectors, start = continuous(5, 500, 4), permutation(5, 500)
    first = subtree(vectors, start, 8, 8, 1)
    assert (subtree(vectors, start, 8, 8, 1) == first).all()
    assert (subtree(vectors, start, 8, 8, 2) != first).any()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 200), st.integers(1, 8), st.integers(1, 20))
def test_a_part_that_is_bisected_elsewhere_comes_out_the_same(
    seed: int, count: int, unit: int, leaf: int
) -> None:
    """A node gathered into memory of its own is told where it lies in the whole."""
    vectors, low = continuous(seed, count + 70, 4), 40
    whole = permutation(seed, count + 70)
    part = np.arange(count, dtype=np.int32)
    block = vectors[whole[low : low + count]]
    bisect_subtree(block, part, 0, count, unit, leaf, low, seed, np.empty(count, np.float32))
    expected = whole.copy()
    keys = np.empty(len(whole), np.float32)
    bisect_subtree(vectors, expected, low, low + count, unit, leaf, 0, seed, keys)
    assert (whole[low : low + count][part] == expected[low : low + count]).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 200), st.integers(1, 4), st.data())
def test_ties_go_left_in_order(seed: int, count: int, values: int, data: st.DataObject) -> None:
    keys = np.random.default_rng(seed).integers(0, values, count).astype(np.float32)
    left = data.draw(st.integers(0, count))
    rows = np.arange(count, dtype=np.int32)
    split_rows(rows, keys, 0, count, left)
    ranked = np.argsort(keys, kind="stable")
    expected = [*sorted(ranked[:left]), *sorted(ranked[left:])]
    assert rows.tolist() == expected
