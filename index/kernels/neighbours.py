"""Bounded neighbour lists whose content does not depend on the order of arrival."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.vectors import squared_distance
from pageann.jit import FAST, kernel

__all__ = ["insert_neighbour", "merge_leaf", "refine_rows"]

_RUN = 32
"""Pairs of a leaf that are looked at together before any is inserted."""


@kernel
def insert_neighbour(ids, distances, row, candidate, distance):  # type: ignore[no-untyped-def]
    """Put ``candidate`` into the sorted list of ``row`` if it is among the nearest and new."""
    width = ids.shape[1]
    last = width - 1
    worst = distances[row, last]
    if distance > worst or (distance == worst and candidate >= ids[row, last] and ids[row, last] >= 0):
        return False
    for i in range(width):
        if ids[row, i] == candidate:
            return False
    i = last
    while i > 0 and (
        distances[row, i - 1] > distance
        or (distances[row, i - 1] == distance and ids[row, i - 1] > candidate)
    ):
        distances[row, i] = distances[row, i - 1]
        ids[row, i] = ids[row, i - 1]
        i -= 1
    distances[row, i] = distance
    ids[row, i] = candidate
    return True


@kernel(fastmath=FAST)
def _any_within(products, norms, row, first, last, limit):  # type: ignore[no-untyped-def]
    """How many of ``norms[j] - 2 products[row, j]`` are at most ``limit``; wide instructions, no branch."""
    found = np.int32(0)
    for j in range(first, last):
        found += np.int32(norms[j] - np.float32(2) * products[row, j] <= limit)
    return found


@kernel
def merge_leaf(products, norms, members, places, ids, distances):  # type: ignore[no-untyped-def]
    """Merge all pairs of one leaf into the lists of its members.

    ``products`` float32 (m, m) inner products, ``norms`` float32 (m,), ``members`` int32 (m,) rows,
    ``places`` int32 (m,) where the list of each member stands in ``ids`` and ``distances``.
    """
    count = members.shape[0]
    last = ids.shape[1] - 1
    for i in range(count):
        row = places[i]
        for first in range(0, count, _RUN):
            end = min(first + _RUN, count)
            # a little above the limit: the comparison that decides is the one below
            worst = distances[row, last]
            limit = worst - norms[i] + np.float32(1e-5) * (abs(worst) + norms[i])
            if _any_within(products, norms, i, first, end, limit) == 0:
                continue
            for j in range(first, end):
                distance = norms[i] + norms[j] - np.float32(2) * products[i, j]
                if distance <= distances[row, last] and i != j:
                    insert_neighbour(ids, distances, row, members[j], max(distance, np.float32(0)))


@kernel
def _is_new(seen, stamp, row):  # type: ignore[no-untyped-def]
    """Note ``row`` in the table ``seen``; False if it was there. Entries of other stamps are free places."""
    mask = seen.shape[0] - 1
    entry = (np.int64(stamp) << np.int64(32)) | np.int64(row)
    at = (np.int64(row) * np.int64(0x9E3779B1) >> np.int64(12)) & mask
    while (seen[at] >> np.int64(32)) == stamp:
        if seen[at] == entry:
            return False
        at = (at + 1) & mask
    seen[at] = entry
    return True


@kernel
def refine_rows(vectors, old_ids, old_distances, width, first, last, seen, ids, distances):  # type: ignore[no-untyped-def]
    """Lists of rows ``[first, last)`` with their neighbours' nearest ``width`` neighbours added.

    Reads ``old_ids``/``old_distances`` of all rows and writes ``ids``/``distances`` (last - first, m),
    so ranges may run in parallel with the same result (one round of NN-descent, Dong et al. 2011,
    without its random sampling). ``seen`` is int64 scratch, zero on entry, a power of two long and
    at least twice as long as one row can meet others.
    """
    list_width = old_ids.shape[1]
    for v in range(first, last):
        stamp = v + 1
        place = v - first
        ids[place] = old_ids[v]
        distances[place] = old_distances[v]
        _is_new(seen, stamp, v)
        for j in range(list_width):
            w = old_ids[v, j]
            if w >= 0:
                _is_new(seen, stamp, w)
        for j in range(list_width):
            w = old_ids[v, j]
            if w < 0:
                break
            for i in range(width):
                u = old_ids[w, i]
                if u < 0:
                    break
                if not _is_new(seen, stamp, u):
                    continue
                distance = squared_distance(vectors[v], vectors[u])
                if distance <= distances[place, list_width - 1]:
                    insert_neighbour(ids, distances, place, u, distance)
