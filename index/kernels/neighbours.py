"""Bounded neighbour lists whose content does not depend on the order of arrival."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.vectors import squared_distance
from pageann.index.kernels.within import RUN, first_bit, run_within
from pageann.jit import kernel

__all__ = ["insert_neighbour", "merge_block", "merge_tile", "refine_rows"]


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
def merge_tile(products, norms, limits, first, members, ids, distances):  # type: ignore[no-untyped-def]
    """Merge the pairs of some members of a leaf with all that come behind them into the lists of both.

    ``products`` float32 (m, c): of ``members[first : first + m]`` with ``members[first:]``; c is RUN more
    than those, since whole runs are read. ``norms`` and ``limits`` float32 (count + RUN,): squared
    lengths, and the last distance of each list, which is kept current. ``members`` int32 (count,) are
    rows, ``ids`` and ``distances`` their lists in the same order.
    """
    count = members.shape[0]
    last = ids.shape[1] - 1
    norms_at, limits_at = np.int64(norms.ctypes.data), np.int64(limits.ctypes.data)
    for i in range(first, min(first + products.shape[0], count)):
        row = products[i - first]
        row_at = np.int64(row.ctypes.data)
        for start in range(i + 1, count, RUN):
            near = run_within(
                row_at + 4 * (start - first), norms_at + 4 * start, limits_at + 4 * start, norms[i], limits[i]
            )  # fmt: skip
            if start + RUN > count:
                near &= (np.int64(1) << (count - start)) - 1
            while near != 0:
                j = start + first_bit(near)
                near &= near - 1
                distance = max(norms[i] + norms[j] - np.float32(2) * row[j - first], np.float32(0))
                if distance <= limits[i]:
                    insert_neighbour(ids, distances, i, members[j], distance)
                    limits[i] = distances[i, last]
                if distance <= limits[j]:
                    insert_neighbour(ids, distances, j, members[i], distance)
                    limits[j] = distances[j, last]


@kernel
def merge_block(products, norms, limits, first_row, count, ids, distances):  # type: ignore[no-untyped-def]
    """Merge rows ``first_row`` to ``first_row + count`` into the lists of some queries.

    ``products`` float32 (q, count + RUN) of queries with these rows, ``norms`` and ``limits`` float32
    (count + RUN,): squared lengths of the rows (or zeros), and -inf. ``distances`` lack the squared
    length of the query.
    """
    last = ids.shape[1] - 1
    norms_at, limits_at = np.int64(norms.ctypes.data), np.int64(limits.ctypes.data)
    for i in range(products.shape[0]):
        row = products[i]
        row_at = np.int64(row.ctypes.data)
        for start in range(0, count, RUN):
            near = run_within(
                row_at + 4 * start, norms_at + 4 * start, limits_at + 4 * start, np.float32(0),
                distances[i, last],
            )  # fmt: skip
            if start + RUN > count:
                near &= (np.int64(1) << (count - start)) - 1
            while near != 0:
                j = start + first_bit(near)
                near &= near - 1
                distance = norms[j] - np.float32(2) * row[j]
                insert_neighbour(ids, distances, i, np.int32(first_row + j), distance)


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
        for j in range(list_width):
            ids[place, j] = old_ids[v, j]
            distances[place, j] = old_distances[v, j]
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
