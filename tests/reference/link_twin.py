"""What a page tells of others: votes of its members' neighbours, counted in dictionaries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FIRST_RANK = 3
Vote = np.float32


def ballots(
    near: NDArray[np.int32], slots: NDArray[np.int32], members: NDArray[np.int32], second: int
) -> Iterator[tuple[int, np.float32]]:
    """(slot, vote) in the order in which the lists of ``members`` are read, their own page included."""
    for v in members:
        for r, u in enumerate(near[v]):
            if u < 0:
                break
            vote = Vote(1) / Vote(r + FIRST_RANK)
            yield int(slots[u]), vote
            for s, w in enumerate(near[u][:second]):
                if w < 0:
                    break
                yield int(slots[w]), Vote(0.5) * vote / Vote(s + FIRST_RANK)


def ranked(votes: dict[int, np.float32], most: int) -> list[int]:
    """Keys by falling vote, then key."""
    return sorted(votes, key=lambda key: (-votes[key], key))[:most]


def page_tells(
    near: NDArray[np.int32], slots: NDArray[np.int32], order: NDArray[np.int32], capacity: int, page: int,
    second: int, link_capacity: int, rep_capacity: int,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """(links, representatives) of ``page``, best first."""
    by_slot: dict[int, np.float32] = {}
    for slot, vote in ballots(near, slots, order[page * capacity : (page + 1) * capacity], second):
        if slot // capacity != page:
            by_slot[slot] = by_slot.get(slot, Vote(0)) + vote
    by_page: dict[int, np.float32] = {}
    for slot in sorted(by_slot):
        by_page[slot // capacity] = by_page.get(slot // capacity, Vote(0)) + by_slot[slot]
    return ranked(by_page, link_capacity), ranked(by_slot, rep_capacity)
