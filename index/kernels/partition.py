"""Balanced bisection of rows by two-means directions: the skeleton of packing and of leaves.

Sources are an (n, dim) array of uint8 or float32, always compared by squared Euclidean distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pageann.index.kernels.pool import select_smallest
from pageann.index.kernels.vectors import dot, squared_distance
from pageann.jit import FAST, kernel

__all__ = [
    "bisect_node",
    "bisect_subtree",
    "node_direction",
    "project_rows",
    "sample_node",
    "split_rows",
]

_SAMPLE_ROWS = 1024
_TWO_MEANS_ROUNDS = 5


@kernel
def _next_random(state: np.ndarray) -> Any:
    """One step of xorshift64*; ``state`` is uint64[1]."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.int64((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33))


@kernel(allocates=True)
def sample_node(rows, low, high, base, seed, state):  # type: ignore[no-untyped-def]
    """Up to _SAMPLE_ROWS of ``rows[low:high]``, for the direction along which they are cut.

    They follow from ``seed`` and from the place of the node in the whole, ``base + low`` to ``base +
    high``, not from who draws them; ``state`` uint64[1] is left for :func:`node_direction`.
    """
    state[0] = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(base + low) * np.uint64(
        0xD1B54A32D192ED03
    )
    state[0] ^= np.uint64(base + high) * np.uint64(0x8CB92BA72F3D8DD7)
    state[0] |= np.uint64(1)
    for _ in range(4):
        _next_random(state)
    count = high - low
    sample = np.empty(min(_SAMPLE_ROWS, count), rows.dtype)
    for i in range(sample.shape[0]):
        sample[i] = rows[low + (i if sample.shape[0] == count else _next_random(state) % count)]
    return sample


@kernel(allocates=True, fastmath=FAST)
def node_direction(vectors, sample, state, direction):  # type: ignore[no-untyped-def]
    """Write into ``direction`` float32 (dim,) the line between two balanced means of rows ``sample``.

    ``sample`` is reordered.
    """
    size = sample.shape[0]
    keys = np.empty(size, np.float32)
    dim = vectors.shape[1]
    start = sample[_next_random(state) % size]
    farthest = start
    reach = np.float32(-1)
    for _ in range(min(size, 16)):
        other = sample[_next_random(state) % size]
        gap = squared_distance(vectors[start], vectors[other])
        if gap > reach:
            reach = gap
            farthest = other
    for i in range(dim):
        direction[i] = np.float32(vectors[farthest, i]) - np.float32(vectors[start, i])
    half = size // 2
    for _ in range(_TWO_MEANS_ROUNDS):
        for i in range(size):
            keys[i] = dot(vectors[sample[i]], direction)
        select_smallest(keys, sample, size, half)
        for i in range(dim):
            direction[i] = np.float32(0)
        low_weight = np.float32(-1.0 / half)
        high_weight = np.float32(1.0 / (size - half))
        for j in range(size):
            weight = low_weight if j < half else high_weight
            row = vectors[sample[j]]
            for i in range(dim):
                direction[i] += weight * np.float32(row[i])


@kernel
def _select_key(keys, count, rank):  # type: ignore[no-untyped-def]
    """The ``rank``-th smallest (from 0) of ``keys[:count]``, which is reordered."""
    first = 0
    last = count - 1
    while first < last:
        a, b, c = keys[first], keys[(first + last) >> 1], keys[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i = first
        j = last
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    return keys[rank]


@kernel
def project_rows(vectors, rows, first, last, direction, keys):  # type: ignore[no-untyped-def]
    """Products of ``rows[first:last]`` with ``direction`` into ``keys[first:last]``."""
    for i in range(first, last):
        keys[i] = dot(vectors[rows[i]], direction)


@kernel(allocates=True)
def split_rows(rows, keys, low, high, left):  # type: ignore[no-untyped-def]
    """Move the ``left`` rows of ``rows[low:high]`` with the smallest keys to the front.

    Both halves keep the order in which their rows stood, and of equal keys the first rows go left,
    so that ascending rows stay ascending: what is near in a file is read together.
    """
    count = high - low
    if left <= 0 or left >= count:
        return
    cut = _select_key(keys[low:high].copy(), count, left - 1)
    below = 0
    for i in range(low, high):
        if keys[i] < cut:
            below += 1
    equal = left - below
    right = np.empty(count - left, rows.dtype)
    kept = low
    moved = 0
    for i in range(low, high):
        goes_left = keys[i] < cut
        if not goes_left and keys[i] == cut and equal > 0:
            goes_left = True
            equal -= 1
        if goes_left:
            rows[kept] = rows[i]
            kept += 1
        else:
            right[moved] = rows[i]
            moved += 1
    for i in range(right.shape[0]):  # a slice would be compiled for four times as long
        rows[kept + i] = right[i]


@kernel(allocates=True)
def bisect_node(vectors, rows, low, high, left, base, seed, keys):  # type: ignore[no-untyped-def]
    """Reorder ``rows[low:high]`` so that its first ``left`` lie on one side of a two-means plane.

    ``rows`` int32, ``keys`` float32 scratch as long as ``rows``; ``base`` as in :func:`sample_node`.
    """
    direction = np.empty(vectors.shape[1], np.float32)
    state = np.empty(1, np.uint64)
    sample = sample_node(rows, low, high, base, seed, state)
    node_direction(vectors, sample, state, direction)
    project_rows(vectors, rows, low, high, direction, keys)
    split_rows(rows, keys, low, high, left)


@kernel(allocates=True)
def bisect_subtree(vectors, rows, low, high, unit, leaf, base, seed, keys):  # type: ignore[no-untyped-def]
    """Bisect ``rows[low:high]`` until no node is longer than ``leaf``, or than one ``unit``.

    Splits fall on multiples of ``unit``, so only the last node may be no multiple of it.
    """
    stack = np.empty((128, 2), np.int64)
    stack[0, 0] = low
    stack[0, 1] = high
    depth = 1
    while depth > 0:
        depth -= 1
        first, last = stack[depth, 0], stack[depth, 1]
        count = last - first
        if count <= max(leaf, unit):
            continue
        units = (count + unit - 1) // unit
        left = (units // 2) * unit
        bisect_node(vectors, rows, first, last, left, base, seed, keys)
        stack[depth, 0] = first + left
        stack[depth, 1] = last
        stack[depth + 1, 0] = first
        stack[depth + 1, 1] = first + left
        depth += 2
