"""Bounded neighbour lists whose content does not depend on the order of arrival."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.vectors import squared_distance
from pageann.jit import kernel

__all__ = ["insert_neighbour", "merge_leaf", "refine_rows"]


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


@kernel
def merge_leaf(products, norms, members, ids, distances):  # type: ignore[no-untyped-def]
    """Merge all pairs of one leaf into the lists of its members.

    ``products`` float32 (m, m) inner products, ``norms`` float32 (m,), ``members`` int32 (m,) rows.
    """
    count = members.shape[0]
    last = ids.shape[1] - 1
    for i in range(count):
        row = members[i]
        for j in range(count):
            distance = norms[i] + norms[j] - np.float32(2) * products[i, j]
            if distance <= distances[row, last] and i != j:
                insert_neighbour(ids, distances, row, members[j], max(distance, np.float32(0)))


@kernel
def refine_rows(vectors, old_ids, old_distances, width, first, last, marks, ids, distances):  # type: ignore[no-untyped-def]
    """Add the neighbours' nearest ``width`` neighbours to the lists of rows ``[first, last)``.

    Reads ``old_ids``/``old_distances`` only and writes ``ids``/``distances`` of its own rows only,
    so ranges may run in parallel with the same result (one round of NN-descent, Dong et al. 2011,
    without its random sampling). ``marks`` is int32 (n,) of this worker, zero on entry; a row's own
    stamp is its number + 1.
    """
    for v in range(first, last):
        stamp = v + 1
        marks[v] = stamp
        for j in range(old_ids.shape[1]):
            w = old_ids[v, j]
            if w >= 0:
                marks[w] = stamp
        for j in range(old_ids.shape[1]):
            w = old_ids[v, j]
            if w < 0:
                break
            for i in range(width):
                u = old_ids[w, i]
                if u < 0:
                    break
                if marks[u] == stamp:
                    continue
                marks[u] = stamp
                distance = squared_distance(vectors[v], vectors[u])
                if distance <= distances[v, distances.shape[1] - 1]:
                    insert_neighbour(ids, distances, v, u, distance)
