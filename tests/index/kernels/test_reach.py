"""Pages are joined to the graph without cutting off others, whatever places their edges had.

Guarded: an edge that replaces the only one to another page, and rounds without end where all are taken.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.builder.pages import PageLinks
from pageann.index.builder.reach import join_lost_pages
from tests.reference.vector_sets import SEEDS


def reached(edges: PageLinks, capacity: int, entries: list[int]) -> set[int]:
    """Pages that can be reached, page by page in a set."""
    found, waiting = set(entries), list(entries)
    while waiting:
        page = waiting.pop()
        others = set(edges.links[page, : edges.link_counts[page]].tolist())
        others |= set((edges.reps[page, : edges.rep_counts[page]] // capacity).tolist())
        waiting += others - found
        found |= others
    return found


def some_edges(seed: int, pages: int, capacity: int, links: int, reps: int, reach: int) -> PageLinks:
    """Any edges to pages below ``reach``; places behind the counts hold anything."""
    random = np.random.default_rng(seed)

    def numbers(below: int, width: int) -> NDArray[np.int32]:
        return random.integers(0, below, (pages, width)).astype(np.int32)

    def counts(width: int) -> NDArray[np.int32]:
        return random.integers(0, width + 1, pages).astype(np.int32)

    return PageLinks(numbers(reach, links), counts(links), numbers(reach * capacity, reps), counts(reps))


@settings(max_examples=150, deadline=None)
@given(
    SEEDS, st.integers(1, 60), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(1, 60),
    st.integers(1, 4),
)  # fmt: skip
def test_every_page_is_reached_wherever_there_is_a_place(
    seed: int, pages: int, capacity: int, links: int, reps: int, reach: int, entries: int
) -> None:
    edges = some_edges(seed, pages, capacity, links, reps, min(reach, pages))
    starts = list(range(0, pages, -(-pages // entries)))
    before = reached(edges, capacity, starts)
    laid = join_lost_pages(edges, capacity, np.array(starts, np.int64))
    after = reached(edges, capacity, starts)
    assert after >= before
    if links + reps:
        assert after == set(range(pages))
        assert laid <= pages - len(before)
    else:
        assert laid == 0
    assert (edges.link_counts <= links).all()
    assert (edges.rep_counts <= reps).all()


def test_sound_edges_are_left_alone() -> None:
    links = np.array([[1, 2], [3, 0], [0, 0], [0, 1]], np.int32)
    edges = PageLinks(
        links.copy(), np.array([2, 2, 1, 2], np.int32), np.zeros((4, 0), np.int32), np.zeros(4, np.int32)
    )
    assert join_lost_pages(edges, 3, np.array([0])) == 0
    assert (edges.links == links).all()


def test_the_least_useful_edge_that_reaches_nothing_new_makes_room() -> None:
    """Page 3 is reached by none; page 1, which it links to, gives the place of its last link."""
    links = np.array([[1, 2], [2, 0], [1, 0], [1, 0]], np.int32)
    edges = PageLinks(
        links.copy(), np.full(4, 2, np.int32), np.zeros((4, 0), np.int32), np.zeros(4, np.int32)
    )
    assert join_lost_pages(edges, 1, np.array([0])) == 1
    assert edges.links.tolist() == [[1, 2], [2, 3], [1, 0], [1, 0]]


@pytest.mark.parametrize("width", [1, 3])
def test_a_thousand_pages_that_all_name_the_same_one(width: int) -> None:
    """As equal vectors have it: every list names the first rows."""
    edges = PageLinks(
        np.zeros((1000, width), np.int32), np.full(1000, width, np.int32),
        np.zeros((1000, 0), np.int32), np.zeros(1000, np.int32),
    )  # fmt: skip
    assert join_lost_pages(edges, 7, np.array([0])) == 999
    assert reached(edges, 7, [0]) == set(range(1000))
