"""A list that remembers who came first would make an index depend on the number of threads.

Whatever the order of arrival, a list holds the nearest candidates by (distance, number), each once.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.neighbours import insert_neighbour, merge_block, merge_tile, refine_rows
from pageann.index.kernels.within import RUN
from tests.reference.neighbour_twin import Lists, empty_lists, entries, nearest, squared_distances
from tests.reference.vector_sets import SEEDS, permutation, whole_numbers

TILE = 16


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 60), st.integers(0, 9), max_size=40), st.integers(1, 12), SEEDS)
def test_any_order_of_arrival_gives_the_same_list(arrivals: dict[int, int], width: int, seed: int) -> None:
    expected = nearest([(candidate, float(d)) for candidate, d in arrivals.items()], width)
    for shuffle in range(3):
        lists = empty_lists(2, width)
        arriving = list(arrivals.items()) * 2  # everything comes twice
        for place in permutation(seed + shuffle, len(arriving)):
            candidate, distance = arriving[place]
            insert_neighbour(*lists, 1, np.int32(candidate), np.float32(distance))
        assert entries(lists, 1) == expected
        assert entries(lists, 0) == []


def test_it_says_whether_the_list_changed() -> None:
    lists = empty_lists(1, 2)
    answers = [
        insert_neighbour(*lists, 0, np.int32(candidate), np.float32(distance))
        for candidate, distance in [(5, 2), (5, 2), (6, 2), (7, 2), (4, 2), (9, 1), (8, 3)]
    ]
    assert answers == [True, False, True, False, True, True, False]
    assert entries(lists, 0) == [(9, 1.0), (4, 2.0)]


def merge(vectors: NDArray[np.float32], leaf: NDArray[np.int32], lists: Lists) -> None:
    """In tiles of a few rows, so that pairs within one and across two of them occur."""
    block, count = vectors[leaf], len(leaf)
    ids, distances = (each[leaf] for each in lists)
    norms = np.pad((block * block).sum(axis=1), (0, RUN))
    limits = np.pad(distances[:, -1], (0, RUN))
    for first in range(0, count, TILE):
        products = np.pad(block[first : first + TILE] @ block[first:].T, ((0, 0), (0, RUN)))
        merge_tile(products, norms, limits, first, leaf, ids, distances)
        assert (limits[:count] == distances[:, -1]).all()
    lists[0][leaf], lists[1][leaf] = ids, distances


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 50), st.integers(1, 8), st.lists(st.integers(1, 25), min_size=1, max_size=6))
def test_leaves_merge_in_any_order(seed: int, rows: int, width: int, sizes: list[int]) -> None:
    """Leaves overlap and values tie; every row ends with the nearest of all it ever met."""
    vectors = whole_numbers(seed, rows, 4, np.float32, values=4)
    random = np.random.default_rng(seed)
    leaves = [random.permutation(rows)[: min(size, rows)].astype(np.int32) for size in sizes]
    pairs = squared_distances(vectors)
    met: list[set[int]] = [set() for _ in range(rows)]
    for leaf in leaves:
        for v in leaf.tolist():
            met[v] |= set(leaf.tolist()) - {v}
    for order in (leaves, leaves[::-1]):
        lists = empty_lists(rows, width)
        for leaf in order:
            merge(vectors, leaf, lists)
        for v in range(rows):
            assert entries(lists, v) == nearest([(w, float(pairs[v, w])) for w in met[v]], width)


def refine(vectors: NDArray[Any], old: Lists, width: int, first: int, last: int, new: Lists) -> None:
    """Refined lists of some rows into their places of ``new``."""
    met = len(old[0][0]) * (1 + width) + 1
    seen = np.zeros(1 << (2 * met).bit_length(), np.int64)
    refine_rows(vectors, *old, width, first, last, seen, new[0][first:last], new[1][first:last])


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_refinement_takes_from_neighbours_of_neighbours(
    seed: int, rows: int, list_width: int, width: int, pieces: int, integers: bool
) -> None:
    width = min(width, list_width)
    vectors = whole_numbers(seed, rows, 5, np.uint8 if integers else np.float32, values=8)
    pairs = squared_distances(vectors)
    old = empty_lists(rows, list_width)
    merge(vectors.astype(np.float32), permutation(seed, rows)[: max(2, rows // 2)], old)
    merge(vectors.astype(np.float32), permutation(seed + 1, rows)[: max(2, rows // 3)], old)
    new = empty_lists(rows, list_width)
    bounds = np.linspace(0, rows, pieces + 1).astype(int)
    for first, last in itertools.pairwise(bounds):
        refine(vectors, old, width, first, last, new)
    for v in range(rows):
        known = {w for w, _ in entries(old, v)}
        seen = known | {u for w in known for u, _ in entries(old, w)[:width]} - {v}
        assert entries(new, v) == nearest([(w, float(pairs[v, w])) for w in seen - {v}], list_width)


def test_what_a_row_has_seen_is_new_to_the_next() -> None:
    """One table serves all rows of a worker."""
    vectors = np.arange(6, dtype=np.float32)[:, None]
    old = empty_lists(6, 3)
    for v in range(5):
        insert_neighbour(*old, v, np.int32(v + 1), np.float32(1))
    new = empty_lists(6, 3)
    refine(vectors, old, 3, 0, 6, new)
    assert [entries(new, v) for v in range(4)] == [[(v + 1, 1.0), (v + 2, 4.0)] for v in range(4)]


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(60, 200))
def test_leaves_longer_than_one_run_lose_no_pair(seed: int, rows: int) -> None:
    vectors = whole_numbers(seed, rows, 4, np.float32, values=6)
    pairs = squared_distances(vectors)
    lists = empty_lists(rows, 5)
    merge(vectors, permutation(seed, rows), lists)
    for v in range(rows):
        assert entries(lists, v) == nearest([(w, float(pairs[v, w])) for w in range(rows) if w != v], 5)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 90), st.integers(1, 12), st.integers(1, 40))
def test_blocks_of_rows_give_each_query_its_nearest(seed: int, rows: int, width: int, block: int) -> None:
    vectors = whole_numbers(seed, rows, 4, np.float32, values=6)
    queries = whole_numbers(seed + 1, 3, 4, np.float32, values=6)
    lists = empty_lists(3, width)
    for first in range(0, rows, block):
        here = vectors[first : first + block]
        products = np.pad(queries @ here.T, ((0, 0), (0, RUN)))
        norms = np.pad((here * here).sum(axis=1), (0, RUN))
        limits = np.full(len(here) + RUN, -np.inf, np.float32)
        merge_block(products, norms, limits, first, len(here), *lists)
    for place, query in enumerate(queries):
        found = [(row, float(here @ here - 2 * here @ query)) for row, here in enumerate(vectors)]
        assert entries(lists, place) == nearest(found, width)
