"""Swaps between pages that lower the residual energy, pages staying exactly full."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.vectors import dot, squared_distance
from pageann.jit import FAST, kernel

__all__ = ["page_centroids", "swap_pass"]


@kernel(fastmath=FAST)
def page_centroids(vectors, order, capacity, centroids):  # type: ignore[no-untyped-def]
    """Mean of the rows ``order[p * capacity : (p + 1) * capacity]`` of each page p into ``centroids``."""
    rows = order.shape[0]
    dim = vectors.shape[1]
    for page in range(centroids.shape[0]):
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
def swap_pass(vectors, norms, neighbours, order, slots, capacity, centroids, first, last, reach):  # type: ignore[no-untyped-def]
    """Try one swap for each row of ``[first, last)``; returns (swaps made, energy removed).

    A row v on page p looks at the pages q of its neighbours and at each member u of q. Swapping v
    and u lowers the summed squared distance to the centroids by
    2 <c_p - c_q, u - v> + (1/|p| + 1/|q|) |u - v|^2, the exact change with both means moving
    (Hartigan's criterion for k-means, applied to a swap). For one pair of pages that is a single
    dot product per u plus a term of its norm. ``norms`` float32 (n,), ``neighbours`` int32 (n, m),
    ``order`` slot -> row, ``slots`` row -> slot, ``centroids`` float32 kept current. Pages q whose
    centre is farther from v than c_p by more than ``reach`` times v's distance are not searched.
    """
    rows = order.shape[0]
    dim = vectors.shape[1]
    direction = np.empty(dim, np.float32)
    swaps = 0
    removed = 0.0
    for v in range(first, last):
        p = slots[v] // capacity
        size_p = min(capacity, rows - p * capacity)
        best_gain = np.float32(0)
        best_slot = -1
        previous = -1
        own = squared_distance(vectors[v], centroids[p])
        for j in range(neighbours.shape[1]):
            w = neighbours[v, j]
            if w < 0:
                break
            q = slots[w] // capacity
            if q == p or q == previous:
                continue
            previous = q
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
                    best_slot = slot
        if best_slot < 0 or best_gain <= np.float32(1e-6) * own:
            continue
        u = order[best_slot]
        q = best_slot // capacity
        size_q = min(capacity, rows - q * capacity)
        for i in range(dim):
            step = np.float32(vectors[u, i]) - np.float32(vectors[v, i])
            centroids[p, i] += step / np.float32(size_p)
            centroids[q, i] -= step / np.float32(size_q)
        slot_v = slots[v]
        order[slot_v] = u
        order[best_slot] = v
        slots[u] = slot_v
        slots[v] = best_slot
        swaps += 1
        removed += np.float64(best_gain)
    return swaps, removed
