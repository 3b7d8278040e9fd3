"""Swaps between pages that lower the residual energy, pages staying exactly full."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.vectors import dot, squared_distance
from pageann.jit import FAST, kernel

__all__ = ["apply_swaps", "page_centroids", "propose_swaps"]

_LEAST_SHARE = np.float32(1e-6)
"""Of a vector's squared distance to its page's centroid: gains below it are rounding."""


@kernel(fastmath=FAST)
def page_centroids(vectors, order, capacity, first_page, last_page, centroids):  # type: ignore[no-untyped-def]
    """Means of the rows ``order[p * capacity : (p + 1) * capacity]`` of pages ``[first_page, last_page)``."""
    rows = order.shape[0]
    dim = vectors.shape[1]
    for page in range(first_page, last_page):
        first = page * capacity
        last = min(first + capacity, rows)
        for i in range(dim):
            centroids[page, i] = np.float32(0)
        for slot in range(first, last):
            row = vectors[order[slot]]
            for i in range(dim):
                centroids[page, i] += np.float32(row[i])
        scale = np.float32(1.0 / (last - first))
        for i in range(dim):
            centroids[page, i] *= scale


@kernel(fastmath=FAST)
def _centre_gap(row, centre, other):  # type: ignore[no-untyped-def]
    """Squared distance of ``row`` to ``centre`` minus that to ``other``."""
    total = np.float32(0)
    for i in range(row.shape[0]):
        x = np.float32(row[i])
        a = x - centre[i]
        b = x - other[i]
        total += a * a - b * b
    return total


@kernel(fastmath=FAST)
def _swap_gain(vectors, norms, centroids, v, u, p, q, weight):  # type: ignore[no-untyped-def]
    """What swapping v of page p and u of page q takes off the summed squared distances to centroids.

    2 <c_p - c_q, u - v> + weight |u - v|^2 with weight = 1 / |p| + 1 / |q|: the exact change with both
    means moving (Hartigan's criterion for k-means, applied to a swap).
    """
    total = np.float32(0)
    for i in range(vectors.shape[1]):
        x = np.float32(vectors[v, i])
        y = np.float32(vectors[u, i])
        gap = centroids[p, i] - centroids[q, i]
        total += np.float32(2) * gap * (y - x) - np.float32(2) * weight * x * y
    return total + weight * (norms[u] + norms[v])


@kernel(allocates=True, fastmath=FAST)
def propose_swaps(  # type: ignore[no-untyped-def]
    vectors, norms, neighbours, order, slots, capacity, centroids, first, last, reach, proposals
):
    """The best swap of each row of ``[first, last)``, all judged by the same state.

    A row v on page p looks at the pages q of its neighbours and at each member u of q; for one pair of
    pages the gain (see ``_swap_gain``) is a single product per u plus a term of its norm.
    ``norms`` float32 (n,), ``neighbours`` int32 (last - first, m), ``order`` slot -> row, ``slots``
    row -> slot. ``proposals`` int32 (n,) gets the row u, or -1 where nothing gains. Pages q whose centre is
    farther from v than c_p by more than ``reach`` times v's distance are not searched.
    """
    rows = order.shape[0]
    dim = vectors.shape[1]
    width = neighbours.shape[1]
    direction = np.empty(dim, np.float32)
    looked_at = np.empty(width, np.int64)
    for v in range(first, last):
        p = slots[v] // capacity
        size_p = min(capacity, rows - p * capacity)
        best_gain = np.float32(0)
        best = -1
        looked = 0
        own = squared_distance(vectors[v], centroids[p])
        for j in range(width):
            w = neighbours[v - first, j]
            if w < 0:
                break
            q = slots[w] // capacity
            known = q == p
            for i in range(looked):
                known |= looked_at[i] == q
            if known:
                continue
            looked_at[looked] = q
            looked += 1
            if _centre_gap(vectors[v], centroids[q], centroids[p]) > reach * own:
                continue
            size_q = min(capacity, rows - q * capacity)
            weight = np.float32(1.0 / size_p + 1.0 / size_q)
            base = np.float32(0)
            for i in range(dim):
                x = np.float32(vectors[v, i])
                gap = np.float32(2) * (centroids[p, i] - centroids[q, i])
                base -= gap * x
                direction[i] = gap - np.float32(2) * weight * x
            base += weight * norms[v]
            for slot in range(q * capacity, q * capacity + size_q):
                u = order[slot]
                gain = base + weight * norms[u] + dot(vectors[u], direction)
                if gain > best_gain:
                    best_gain = gain
                    best = u
        proposals[v] = best if best_gain > _LEAST_SHARE * own else -1


@kernel(fastmath=FAST)
def apply_swaps(vectors, norms, order, slots, capacity, centroids, first, last, proposals):  # type: ignore[no-untyped-def]
    """Make the proposed swaps of rows ``[first, last)`` that still gain; returns (swaps, energy removed).

    One after another, each judged anew by what those before it left; ``order``, ``slots`` and
    ``centroids`` are kept current.
    """
    rows = order.shape[0]
    swaps = 0
    removed = 0.0
    for v in range(first, last):
        u = proposals[v]
        if u < 0:
            continue
        slot_v, slot_u = slots[v], slots[u]
        p, q = slot_v // capacity, slot_u // capacity
        if p == q:
            continue
        size_p = np.float32(min(capacity, rows - p * capacity))
        size_q = np.float32(min(capacity, rows - q * capacity))
        weight = np.float32(1) / size_p + np.float32(1) / size_q
        gain = _swap_gain(vectors, norms, centroids, v, u, p, q, weight)
        if gain <= _LEAST_SHARE * squared_distance(vectors[v], centroids[p]):
            continue
        for i in range(vectors.shape[1]):
            step = np.float32(vectors[u, i]) - np.float32(vectors[v, i])
            centroids[p, i] += step / size_p
            centroids[q, i] -= step / size_q
        order[slot_v], order[slot_u] = u, v
        slots[u], slots[v] = slot_v, slot_u
        swaps += 1
        removed += np.float64(gain)
    return swaps, removed
