"""Pack vectors into pages that are exactly full and compact.

A balanced tree of two-means splits, which fall on multiples of the page's capacity, gives full pages;
swaps between the pages of near neighbours then lower the residual energy. Compact pages are what
centroids, codes and rankings describe well; packing for the neighbour graph instead leaves misfits
that nothing finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.parallel import run_pieces
from pageann.index.kernels.packing import page_centroids, swap_pass
from pageann.index.kernels.partition import bisect_node, bisect_subtree

__all__ = ["Packing", "balanced_order", "centroids_of", "pack", "squared_norms", "tree_nodes"]

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_SUBTREE_ROWS = 65_536
_SWAP_PASSES = 8
_SWAP_NEIGHBOURS = 16
_SWAP_REACH = 0.1
_LEAST_GAIN = 0.002
_SWAP_BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Packing:
    """``order`` int32 (n,): slot -> row; ``centroids`` float32 (pages, dim); mean squared residual."""

    order: Rows
    centroids: Floats
    residual_energy: float


def tree_nodes(rows: int, unit: int, leaf: int) -> list[tuple[int, int]]:
    """The ranges that :func:`balanced_order` leaves unsplit, in order."""
    leaves = []
    stack = [(0, rows)]
    while stack:
        low, high = stack.pop()
        if high - low <= max(leaf, unit):
            leaves.append((low, high))
            continue
        left = low + _left_rows(high - low, unit)
        stack += [(left, high), (low, left)]
    return leaves


def _left_rows(count: int, unit: int) -> int:
    return (-(-count // unit) // 2) * unit


def balanced_order(vectors: npt.NDArray[Any], unit: int, leaf: int, seed: int, threads: int) -> Rows:
    """Rows ordered by a balanced tree of two-means splits down to nodes of at most ``leaf`` rows.

    Splits fall on multiples of ``unit``; no node of one unit or less is split.
    """
    rows = np.arange(len(vectors), dtype=np.int32)
    keys = np.empty(len(vectors), np.float32)
    small: list[tuple[int, int]] = []
    level = [(0, len(vectors))]
    while level:
        large = [node for node in level if node[1] - node[0] > _SUBTREE_ROWS]
        small += [node for node in level if node[1] - node[0] <= _SUBTREE_ROWS]

        def split(node: tuple[int, int]) -> None:
            low, high = node
            bisect_node(vectors, rows, low, high, _left_rows(high - low, unit), seed, keys)

        run_pieces(split, large, threads)
        level = []
        for low, high in large:
            middle = low + _left_rows(high - low, unit)
            level += [(low, middle), (middle, high)]

    def finish(node: tuple[int, int]) -> None:
        bisect_subtree(vectors, rows, node[0], node[1], unit, leaf, seed, keys)

    run_pieces(finish, small, threads)
    return rows


def squared_norms(vectors: npt.NDArray[Any], threads: int) -> Floats:
    """Squared length of each row."""
    norms = np.empty(len(vectors), np.float32)

    def block(first: int) -> None:
        part = np.asarray(vectors[first : first + 8192], dtype=np.float32)
        norms[first : first + 8192] = np.einsum("ij,ij->i", part, part)

    run_pieces(block, range(0, len(vectors), 8192), threads)
    return norms


def centroids_of(vectors: npt.NDArray[Any], order: Rows, capacity: int) -> Floats:
    """Mean of each run of ``capacity`` slots, float32 (pages, dim)."""
    centroids = np.empty((-(-len(order) // capacity), vectors.shape[1]), np.float32)
    page_centroids(vectors, order, capacity, centroids)
    return centroids


def _energy(norms: Floats, order: Rows, centroids: Floats, capacity: int) -> float:
    """Mean squared distance of vectors to their page's centroid, from norms alone."""
    counts = np.full(len(centroids), capacity, np.float64)
    counts[-1] = len(order) - (len(centroids) - 1) * capacity
    lengths = np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)
    return max(0.0, float(norms.sum(dtype=np.float64) - (lengths * counts).sum()) / len(order))


def pack(
    vectors: npt.NDArray[Any],
    neighbours: Rows,
    capacity: int,
    seed: int,
    threads: int,
    done: Callable[[int, int], None] | None = None,
) -> Packing:
    """Pages of ``capacity`` slots, all full but the last.

    ``vectors`` uint8 or float32 (n, dim), ``neighbours`` int32 (n, m) sorted by distance, -1 behind
    the last.
    """
    rows = len(vectors)
    order = balanced_order(vectors, capacity, capacity, seed, threads)
    centroids = centroids_of(vectors, order, capacity)
    norms = squared_norms(vectors, threads)
    if len(centroids) > 1 and capacity > 1:
        slots = np.empty(rows, np.int32)
        slots[order] = np.arange(rows, dtype=np.int32)
        near = np.ascontiguousarray(neighbours[:, :_SWAP_NEIGHBOURS])
        energy = max(_energy(norms, order, centroids, capacity) * rows, 1e-30)
        starts = range(0, rows, _SWAP_BLOCK_ROWS)
        for number in range(_SWAP_PASSES):
            removed = 0.0
            for block, first in enumerate(starts):
                last = min(first + _SWAP_BLOCK_ROWS, rows)
                _, gain = swap_pass(
                    vectors,
                    norms,
                    near,
                    order,
                    slots,
                    capacity,
                    centroids,
                    first,
                    last,
                    np.float32(_SWAP_REACH),
                )
                removed += gain
                if done is not None:
                    done(number * len(starts) + block + 1, _SWAP_PASSES * len(starts))
            page_centroids(vectors, order, capacity, centroids)  # sums of rounding do not grow
            if removed < _LEAST_GAIN * energy:
                break
    return Packing(order, centroids, _energy(norms, order, centroids, capacity))
