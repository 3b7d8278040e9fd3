"""Merge the neighbour lists of a page's members into what the page tells of others."""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["merge_pages", "vote_places"]

_FIRST_RANK = 3
_SECOND_HOP = np.float32(0.5)


@kernel
def _place_of(table, key):  # type: ignore[no-untyped-def]
    """Where ``key`` stands in an open table of keys (-1: free), or the free place that it would take."""
    mask = table.shape[0] - 1
    at = (np.int64(key) * np.int64(0x9E3779B1) >> np.int64(12)) & mask
    while table[at] >= 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@kernel
def _add_vote(table, votes, keys, count, key, vote):  # type: ignore[no-untyped-def]
    """Add ``vote`` to what ``key`` has; returns how many keys there are."""
    at = _place_of(table, key)
    if table[at] < 0:
        table[at] = key
        votes[at] = np.float32(0)
        keys[count] = key
        count += 1
    votes[at] += vote
    return count


@kernel
def _clear(table, keys, count):  # type: ignore[no-untyped-def]
    """Empty the table of the ``count`` keys that it holds."""
    for i in range(count):
        keys[i] = _place_of(table, keys[i])  # all places first: a key taken out would hide others
    for i in range(count):
        table[keys[i]] = -1


@kernel
def _take_best(table, votes, keys, count, out, best):  # type: ignore[no-untyped-def]
    """Keys by falling vote (equal votes: by key) into ``out``; returns how many. ``best``: scratch."""
    held = 0
    most = out.shape[0]
    if most == 0:
        return 0
    for i in range(count):
        key = keys[i]
        vote = votes[_place_of(table, key)]
        if held == most:
            if vote < best[held - 1] or (vote == best[held - 1] and key > out[held - 1]):
                continue
            held -= 1
        at = held
        while at > 0 and (best[at - 1] < vote or (best[at - 1] == vote and out[at - 1] > key)):
            best[at] = best[at - 1]
            out[at] = out[at - 1]
            at -= 1
        best[at] = vote
        out[at] = key
        held += 1
    return held


@kernel(allocates=True)
def merge_pages(  # type: ignore[no-untyped-def]
    neighbours, slots, order, capacity, second, first, last, table, links, link_counts, reps, rep_counts
):
    """Links and representatives of the pages ``[first, last)``, best first.

    Every neighbour of rank r of a member has 1 / (r + 3) votes, and every neighbour of rank s < ``second`` of
    such a neighbour half of 1 / ((r + 3) (s + 3)); vectors of the page itself have none.
    Representatives are the slots with most votes, links the pages with most. ``neighbours`` int32
    (rows, m), ``slots`` row -> slot, ``order`` slot -> row; ``links``/``reps`` int32 (last - first, any),
    widths may be 0. ``table`` is int32 scratch of -1, a power of two long (:func:`vote_places`).
    """
    rows = order.shape[0]
    width = neighbours.shape[1]
    second = min(second, width)
    keys = np.empty(capacity * width * (1 + second), np.int32)
    pages = np.empty(keys.shape[0], np.int32)
    votes = np.empty(table.shape[0], np.float32)
    best = np.empty(max(links.shape[1], reps.shape[1]), np.float32)
    for page in range(first, last):
        count = 0
        for slot in range(page * capacity, min((page + 1) * capacity, rows)):
            v = order[slot]
            for r in range(width):
                u = neighbours[v, r]
                if u < 0:
                    break
                vote = np.float32(1) / np.float32(r + _FIRST_RANK)
                if slots[u] // capacity != page:
                    count = _add_vote(table, votes, keys, count, slots[u], vote)
                for s in range(second):
                    w = neighbours[u, s]
                    if w < 0:
                        break
                    if slots[w] // capacity != page:
                        share = _SECOND_HOP * vote / np.float32(s + _FIRST_RANK)
                        count = _add_vote(table, votes, keys, count, slots[w], share)
        rep_counts[page - first] = _take_best(table, votes, keys, count, reps[page - first], best)
        keys[:count].sort()
        by_slot = np.empty(count, np.float32)
        for i in range(count):
            by_slot[i] = votes[_place_of(table, keys[i])]
            pages[i] = keys[i] // capacity
        _clear(table, keys, count)
        distinct = 0
        for i in range(count):
            distinct = _add_vote(table, votes, keys, distinct, pages[i], by_slot[i])
        link_counts[page - first] = _take_best(table, votes, keys, distinct, links[page - first], best)
        _clear(table, keys, distinct)


def vote_places(capacity: int, width: int, second: int) -> int:
    """Length of the table that pages of ``capacity`` need: at least twice the keys that one can meet."""
    return 1 << int(2 * max(1, capacity * width * (1 + min(second, width)))).bit_length()
