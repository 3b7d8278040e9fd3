"""Balanced bisection in NumPy: the same draws, the same rounds, sums in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 2**64
ROUNDS = 5


@dataclass
class Draws:
    """The kernel's random numbers (xorshift64*), in Python integers."""

    state: int

    @classmethod
    def of_node(cls, seed: int, low: int, high: int) -> Draws:
        """The draws of one node."""
        state = (seed * 0x9E3779B97F4A7C15 + low * 0xD1B54A32D192ED03) % WORD
        draws = cls((state ^ (high * 0x8CB92BA72F3D8DD7 % WORD)) | 1)
        for _ in range(4):
            draws.next()
        return draws

    def next(self) -> int:
        """A number below 2^31."""
        x = self.state
        x ^= x >> 12
        x = (x ^ (x << 25)) % WORD
        x ^= x >> 27
        self.state = x
        return (x * 0x2545F4914F6CDD1D) % WORD >> 33


@dataclass
class Split:
    """A node cut in two, and how clear the cut was."""

    left: set[int]
    margin: float
    """Least gap at any cut or choice made on the way, as a share of the values compared."""


def split_node(
    vectors: NDArray[Any], rows: NDArray[np.int32], low: int, high: int, left: int, seed: int
) -> Split:
    """Which rows of ``rows[low:high]`` go left."""
    draws = Draws.of_node(seed, low, high)
    members = rows[low:high].astype(np.int64)
    size = min(len(members), 1024)
    sample = members if size == len(members) else members[[draws.next() % len(members) for _ in range(size)]]
    points = vectors.astype(np.float64)
    start = sample[draws.next() % size]
    others = sample[[draws.next() % size for _ in range(min(size, 16))]]
    gaps = ((points[others] - points[start]) ** 2).sum(axis=1)
    apart = np.unique(gaps)
    margin = float((apart[-1] - apart[-2]) / apart[-1]) if len(apart) > 1 else 1.0
    direction = points[others[int(np.argmax(gaps))]] - points[start]
    half = size // 2
    for _ in range(ROUNDS):
        order, clear = ranked(points[sample] @ direction, half)
        margin = min(margin, clear)
        direction = points[sample[order[half:]]].mean(axis=0) - points[sample[order[:half]]].mean(axis=0)
    order, clear = ranked(points[members] @ direction, left)
    return Split(set(members[order[:left]].tolist()), min(margin, clear))


def ranked(keys: NDArray[np.float64], rank: int) -> tuple[NDArray[np.int64], float]:
    """Places by ascending key, and the gap behind the first ``rank`` as a share of the largest key."""
    order = np.argsort(keys, kind="stable")
    clear = (keys[order[rank]] - keys[order[rank - 1]]) / max(float(np.abs(keys).max()), 1e-30)
    return order, float(clear)


def node_sizes(count: int, unit: int, leaf: int) -> list[int]:
    """Sizes of the nodes that bisection leaves of ``count`` rows, from left to right."""
    if count <= max(leaf, unit):
        return [count]
    left = -(-count // unit) // 2 * unit
    return node_sizes(left, unit, leaf) + node_sizes(count - left, unit, leaf)
