"""What a health report counts: edges of the page graph, and vectors that are equal."""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["count_edges", "hash_vectors", "pass_on"]


@kernel
def count_edges(  # type: ignore[no-untyped-def]
    links, link_counts, reps, rep_counts, capacity, first, seen, in_degree, targets, target_counts
):
    """Note to which other pages the pages from ``first`` on have edges; False if to one that is none.

    ``in_degree`` int64 (pages,) grows by one for each page that has an edge to a page. The first
    distinct targets of page p go to the row p of ``targets``, as many as fit, their number to
    ``target_counts``. ``seen`` int64 (pages,): scratch of -1.
    """
    pages, width = in_degree.shape[0], targets.shape[1]
    for i in range(links.shape[0]):
        page, count = first + i, 0
        for j in range(np.int64(link_counts[i]) + np.int64(rep_counts[i])):
            if j < link_counts[i]:
                other = np.int64(links[i, j])
            else:
                other = np.int64(reps[i, j - link_counts[i]]) // capacity
            if other >= pages:
                return False
            if other == page or seen[other] == page:
                continue
            seen[other] = page
            in_degree[other] += 1
            if count < width:
                targets[page, count] = other
                count += 1
        target_counts[page] = count
    return True


@kernel
def pass_on(  # type: ignore[no-untyped-def]
    links, link_counts, reps, rep_counts, capacity, first, parents, queue, tail
):
    """Append to ``queue`` what the reached ones of the pages from ``first`` on have edges to; its length."""
    for i in range(links.shape[0]):
        page = first + i
        if parents[page] < 0:
            continue
        for j in range(np.int64(link_counts[i]) + np.int64(rep_counts[i])):
            if j < link_counts[i]:
                other = np.int64(links[i, j])
            else:
                other = np.int64(reps[i, j - link_counts[i]]) // capacity
            if parents[other] < 0:
                parents[other] = page
                queue[tail] = other
                tail += 1
    return tail


@kernel
def hash_vectors(data, hashes):  # type: ignore[no-untyped-def]
    """64-bit FNV-1a of each row of ``data`` uint8 (m, bytes), its bits mixed, into ``hashes`` uint64 (m,)."""
    for i in range(data.shape[0]):
        value = np.uint64(0xCBF29CE484222325)
        for j in range(data.shape[1]):
            value = (value ^ np.uint64(data[i, j])) * np.uint64(0x100000001B3)
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xFF51AFD7ED558CCD)
        hashes[i] = value ^ (value >> np.uint64(33))
