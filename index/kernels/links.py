"""Merge the neighbour lists of a page's members into what the page tells of others."""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["merge_pages"]

_FIRST_RANK = 3
_SECOND_HOP = np.float32(0.5)


@kernel
def _vote_totals(keys, votes, count):  # type: ignore[no-untyped-def]
    """Sum the votes of equal keys; returns how many keys there are. Order: ascending key."""
    order = np.argsort(keys[:count], kind="mergesort")
    sorted_keys = keys[:count][order]
    sorted_votes = votes[:count][order]
    distinct = 0
    at = 0
    while at < count:
        total = np.float32(0)
        key = sorted_keys[at]
        while at < count and sorted_keys[at] == key:
            total += sorted_votes[at]
            at += 1
        keys[distinct] = key
        votes[distinct] = total
        distinct += 1
    return distinct


@kernel
def _take_best(keys, votes, distinct, out):  # type: ignore[no-untyped-def]
    """Keys by falling vote (equal votes: by key) into ``out``; returns how many."""
    order = np.argsort(-votes[:distinct], kind="mergesort")
    taken = min(distinct, out.shape[0])
    for i in range(taken):
        out[i] = keys[order[i]]
    return taken


@kernel
def merge_pages(  # type: ignore[no-untyped-def]
    neighbours, slots, order, capacity, second, first, last, links, link_counts, reps, rep_counts
):
    """Links and representatives of the pages ``[first, last)``, best first.

    Every neighbour of rank r of a member has 1 / (r + 3) votes, and every neighbour of rank s < ``second`` of
    such a neighbour half of 1 / ((r + 3) (s + 3)); vectors of the page itself have none.
    Representatives are the slots with most votes, links the pages with most. ``neighbours`` int32
    (rows, m), ``slots`` row -> slot, ``order`` slot -> row; ``links``/``reps`` int32, one row a page of
    the whole index; widths may be 0.
    """
    rows = order.shape[0]
    width = neighbours.shape[1]
    second = min(second, width)
    longest = capacity * width * (1 + second)
    keys = np.empty(longest, np.int32)
    votes = np.empty(longest, np.float32)
    pages = np.empty(longest, np.int32)
    page_votes = np.empty(longest, np.float32)
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
                    keys[count] = slots[u]
                    votes[count] = vote
                    count += 1
                for s in range(second):
                    w = neighbours[u, s]
                    if w < 0:
                        break
                    if slots[w] // capacity != page:
                        keys[count] = slots[w]
                        votes[count] = _SECOND_HOP * vote / np.float32(s + _FIRST_RANK)
                        count += 1
        distinct = _vote_totals(keys, votes, count)
        rep_counts[page] = _take_best(keys, votes, distinct, reps[page])
        for i in range(distinct):
            pages[i] = keys[i] // capacity
            page_votes[i] = votes[i]
        distinct = _vote_totals(pages, page_votes, distinct)
        link_counts[page] = _take_best(pages, page_votes, distinct, links[page])
