"""Which pages can be reached over links and representatives, and edges to those that cannot.

``parents`` int32 (pages,) holds for each page that was reached the page from which it first was (an entry
page: itself), else -1. The edges of that forest are never taken away, so what was reached stays so.
"""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["follow_edges", "join_page"]


@kernel
def follow_edges(  # type: ignore[no-untyped-def]
    links, link_counts, reps, rep_counts, capacity, parents, queue, head, tail, most
):
    """Visit up to ``most`` pages of ``queue[head:tail]``, appending what they reach; returns (head, tail)."""
    last = min(tail, head + most)
    while head < last:
        page = queue[head]
        head += 1
        for i in range(link_counts[page]):
            other = links[page, i]
            if parents[other] < 0:
                parents[other] = page
                queue[tail] = other
                tail += 1
        for i in range(rep_counts[page]):
            other = reps[page, i] // capacity
            if parents[other] < 0:
                parents[other] = page
                queue[tail] = other
                tail += 1
    return head, tail


@kernel
def _give_link(links, link_counts, parents, giver, page):  # type: ignore[no-untyped-def]
    """Link ``giver`` to ``page``: in a free place, or for the least of the links that reach nothing new."""
    count = link_counts[giver]
    if count < links.shape[1]:
        links[giver, count] = page
        link_counts[giver] = count + 1
        return True
    for i in range(count - 1, -1, -1):
        if parents[links[giver, i]] != giver or links[giver, i] == giver:
            links[giver, i] = page
            return True
    return False


@kernel
def _give_rep(reps, rep_counts, capacity, parents, giver, page):  # type: ignore[no-untyped-def]
    """The same by a representative: the first vector of ``page``."""
    count = rep_counts[giver]
    if count < reps.shape[1]:
        reps[giver, count] = page * capacity
        rep_counts[giver] = count + 1
        return True
    for i in range(count - 1, -1, -1):
        other = reps[giver, i] // capacity
        if parents[other] != giver or other == giver:
            reps[giver, i] = page * capacity
            return True
    return False


@kernel
def _give(links, link_counts, reps, rep_counts, capacity, parents, giver, page):  # type: ignore[no-untyped-def]
    if parents[giver] < 0 or giver == page:
        return False
    if links.shape[1] > 0:
        return _give_link(links, link_counts, parents, giver, page)
    return _give_rep(reps, rep_counts, capacity, parents, giver, page)


@kernel
def join_page(links, link_counts, reps, rep_counts, capacity, parents, page):  # type: ignore[no-untyped-def]
    """Lay an edge to ``page``, which nothing reaches; returns the page that it starts from, -1 for none.

    It comes from a page that ``page`` itself has an edge to, else from the nearest in the order of
    pages, in which neighbours are near in space too.
    """
    giver = np.int64(-1)
    for i in range(link_counts[page]):
        if _give(links, link_counts, reps, rep_counts, capacity, parents, links[page, i], page):
            giver = np.int64(links[page, i])
            break
    if giver < 0:
        for i in range(rep_counts[page]):
            other = reps[page, i] // capacity
            if _give(links, link_counts, reps, rep_counts, capacity, parents, other, page):
                giver = np.int64(other)
                break
    away = 1
    pages = parents.shape[0]
    while giver < 0 and away < pages:
        for other in (page - away, page + away):
            if 0 <= other < pages and _give(
                links, link_counts, reps, rep_counts, capacity, parents, other, page
            ):
                giver = np.int64(other)
                break
        away += 1
    if giver >= 0:
        parents[page] = giver
    return giver
