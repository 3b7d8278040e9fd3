"""A pool that drops the wrong candidate, or orders ties by arrival, returns different answers each time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.index.kernels.pool import insert_candidate, insert_result, select_smallest
from tests.reference.vector_sets import SEEDS

ARRIVALS = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 200)), max_size=60, unique_by=lambda a: a[1])


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, st.integers(1, 20))
def test_candidates_are_the_best_by_score_and_slot(arrivals: list[tuple[int, int]], capacity: int) -> None:
    scores = np.full(capacity + 1, np.nan, np.float32)
    slots, states = np.full(capacity + 1, -7, np.int64), np.full(capacity + 1, 9, np.uint8)
    count = 0
    for seen, (score, slot) in enumerate(arrivals, 1):
        count = insert_candidate(
            scores[:capacity], slots[:capacity], states[:capacity], count, np.float32(score / 2), slot,
            np.uint8(slot % 3),
        )  # fmt: skip
        expected = sorted(arrivals[:seen])[:capacity]
        assert count == len(expected)
        assert list(zip(scores[:count] * 2, slots[:count], strict=True)) == expected
        assert (states[:count] == slots[:count] % 3).all(), "states move with their candidates"
    assert np.isnan(scores[capacity])
    assert (slots[capacity], states[capacity]) == (-7, 9)


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, st.integers(1, 20))
def test_results_are_the_nearest_by_distance_and_row(arrivals: list[tuple[int, int]], capacity: int) -> None:
    distances = np.full(capacity + 1, np.nan)
    rows, slots = np.full(capacity + 1, -7, np.int64), np.full(capacity + 1, -7, np.int64)
    count = 0
    for distance, row in arrivals:
        count = insert_result(
            distances[:capacity], rows[:capacity], slots[:capacity], count, float(distance), row, 1000 - row
        )
    expected = sorted(arrivals)[:capacity]
    assert count == len(expected)
    assert list(zip(distances[:count], rows[:count], strict=True)) == expected
    assert (slots[:count] == 1000 - rows[:count]).all()
    assert np.isnan(distances[capacity])
    assert rows[capacity] == slots[capacity] == -7


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(0, 120), st.integers(0, 130), st.integers(1, 50))
def test_selection_moves_the_smallest_to_the_front(seed: int, count: int, rank: int, values: int) -> None:
    random = np.random.default_rng(seed)
    keys = random.integers(0, values, count + 3).astype(np.float32)
    before = keys.copy()
    places = np.arange(count + 3, dtype=np.int32)
    select_smallest(keys, places, count, rank)
    assert sorted(places[:count].tolist()) == list(range(count))
    assert (keys == before[places]).all(), "values move with their keys"
    assert (places[count:] == np.arange(count, count + 3)).all()
    kept = min(rank, count)
    assert sorted(keys[:kept]) == sorted(before[:count])[:kept]
