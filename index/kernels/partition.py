"""Balanced bisection of rows by two-means directions: the skeleton of packing and of leaves.

Sources are an (n, dim) array of uint8 or float32, always compared by squared Euclidean distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pageann.index.kernels.pool import select_smallest
from pageann.index.kernels.vectors import dot, squared_distance
from pageann.jit import FAST, kernel

__all__ = ["bisect_node", "bisect_subtree"]

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


@kernel(fastmath=FAST)
def _two_means_direction(vectors, rows, low, high, state, sample, keys, direction):  # type: ignore[no-untyped-def]
    """Write into ``direction`` the line between two balanced means of a sample of the node."""
    count = high - low
    size = min(count, sample.shape[0])
    for i in range(size):
        pick = low + (i if size == count else _next_random(state) % count)
        sample[i] = rows[pick]
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
def bisect_node(vectors, rows, low, high, left, seed, keys):  # type: ignore[no-untyped-def]
    """Reorder ``rows[low:high]`` so that its first ``left`` lie on one side of a two-means plane.

    ``rows`` int32, ``keys`` float32 scratch as long as ``rows``. The split depends on ``seed`` and
    on the rows of the node, not on who computes it.
    """
    state = np.empty(1, np.uint64)
    state[0] = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(low) * np.uint64(
        0xD1B54A32D192ED03
    )
    state[0] ^= np.uint64(high) * np.uint64(0x8CB92BA72F3D8DD7)
    state[0] |= np.uint64(1)
    for _ in range(4):
        _next_random(state)
    sample = np.empty(min(_SAMPLE_ROWS, high - low), rows.dtype)
    sample_keys = np.empty(sample.shape[0], np.float32)
    direction = np.empty(vectors.shape[1], np.float32)
    _two_means_direction(vectors, rows, low, high, state, sample, sample_keys, direction)
    for i in range(low, high):
        keys[i] = dot(vectors[rows[i]], direction)
    select_smallest(keys[low:high], rows[low:high], high - low, left)


@kernel
def bisect_subtree(vectors, rows, low, high, unit, leaf, seed, keys):  # type: ignore[no-untyped-def]
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
        bisect_node(vectors, rows, first, last, left, seed, keys)
        stack[depth, 0] = first + left
        stack[depth, 1] = last
        stack[depth + 1, 0] = first
        stack[depth + 1, 1] = first + left
        depth += 2
