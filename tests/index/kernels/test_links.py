"""Links and representatives decide what a walk can find: they must be the ones with most votes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.index.kernels.links import merge_pages, vote_places
from tests.reference.link_twin import page_tells
from tests.reference.vector_sets import SEEDS, inverse, permutation


@settings(max_examples=80, deadline=None)
@given(
    SEEDS, st.integers(1, 60), st.integers(0, 6), st.integers(0, 8), st.integers(1, 7), st.integers(0, 12),
    st.integers(0, 20), st.integers(0, 100),
)  # fmt: skip
def test_pages_tell_of_those_with_most_votes(
    seed: int, rows: int, width: int, second: int, capacity: int, links: int, reps: int, cut: int
) -> None:
    random = np.random.default_rng(seed)
    near = random.integers(0, rows, (rows, width)).astype(np.int32)
    near[np.arange(width) >= random.integers(0, width + 1, rows)[:, None]] = -1
    order = permutation(seed, rows)
    slots = inverse(order)
    pages = -(-rows // capacity)
    made = np.full((pages, links), -5, np.int32), np.full(pages, -5, np.int32)
    told = np.full((pages, reps), -5, np.int32), np.full(pages, -5, np.int32)
    middle = min(cut, pages)
    for first, last in ((0, middle), (middle, pages)):
        table = np.full(vote_places(capacity, width, second), -1, np.int32)
        parts = [each[first:last] for each in (*made, *told)]
        merge_pages(near, slots, order, capacity, second, first, last, table, *parts)
        assert (table == -1).all(), "the table is empty again for the next pages"
    for page in range(pages):
        expected = page_tells(near, slots, order, capacity, page, second, links, reps)
        assert made[0][page, : made[1][page]].tolist() == expected[0]
        assert told[0][page, : told[1][page]].tolist() == expected[1]
        assert (made[0][page, made[1][page] :] == -5).all(), "what is not held stays as it was"
