"""Balanced trees of two-means splits over all rows, on several threads and within bounded memory.

Nodes of many rows are cut one after another, their products computed in chunks on all threads; each
small node is gathered into memory of its own and bisected to the end there. Rows stay ascending within
a node, so a file of vectors is read forwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace, Residency
from pageann.index.kernels.partition import (
    bisect_subtree,
    node_direction,
    project_rows,
    sample_node,
    split_rows,
)

__all__ = ["GATHER_ROWS", "SUBTREE_BYTES", "balanced_order", "gather_rows", "subtree_rows", "tree_nodes"]

Rows = npt.NDArray[np.int32]

SUBTREE_BYTES = 8 << 20
"""Vectors that are gathered to be bisected together."""
_LEAST_SUBTREE_ROWS = 2048
_MOST_SUBTREE_ROWS = 65_536
_CHUNK_BYTES = 512 << 10
GATHER_ROWS = 256
"""Most rows of a mapped file that are read between two checks of what is resident."""


def tree_nodes(rows: int, unit: int, leaf: int) -> list[tuple[int, int]]:
    """The ranges that :func:`balanced_order` leaves unsplit, in order."""
    leaves = []
    stack = [(0, rows)]
    while stack:
        low, high = stack.pop()
        if high - low <= max(leaf, unit):
            leaves.append((low, high))
            continue
        left = low + left_rows(high - low, unit)
        stack += [(left, high), (low, left)]
    return leaves


def left_rows(count: int, unit: int) -> int:
    """Rows of the left half of a node: half of its units."""
    return (-(-count // unit) // 2) * unit


def subtree_rows(vectors: npt.NDArray[Any], unit: int, leaf: int) -> int:
    """Rows of a node that is bisected to the end in memory of its own."""
    fitting = SUBTREE_BYTES // max(1, int(vectors.shape[1]) * vectors.itemsize)
    return max(unit, leaf, min(max(fitting, _LEAST_SUBTREE_ROWS), _MOST_SUBTREE_ROWS))


def gather_rows(vectors: npt.NDArray[Any], rows: Rows, pace: Pace | None = None) -> npt.NDArray[Any]:
    """``vectors[rows]`` in memory, read in runs."""
    block = np.empty((len(rows), vectors.shape[1]), vectors.dtype)
    for first, last in [(0, len(rows))] if pace is None else pace.runs(0, len(rows)):
        block[first:last] = vectors[rows[first:last]]
    return block


def balanced_order(
    vectors: npt.NDArray[Any],
    unit: int,
    leaf: int,
    seed: int,
    threads: int,
    residency: Residency | None = None,
    use: Callable[[int, npt.NDArray[Any]], None] | None = None,
    done: Callable[[int, int], None] | None = None,
    *,
    most_gathered: int | None = None,
) -> Rows:
    """Rows ordered by a balanced tree of two-means splits down to nodes of at most ``leaf`` rows.

    Splits fall on multiples of ``unit``; no node of one unit or less is split. ``use(place, block)``
    gets the vectors in their new order, run by run, from any thread. Memory: 12 bytes a row, and
    ``SUBTREE_BYTES`` twice a thread, where ``most_gathered`` rows do not set another bound.
    """
    rows = np.arange(len(vectors), dtype=np.int32)
    most = most_gathered or subtree_rows(vectors, unit, leaf)
    small = _cut_large(vectors, rows, unit, most, seed, threads, residency)
    pace = Pace(residency, GATHER_ROWS)

    def finish(node: tuple[int, int]) -> None:
        low, high = node
        block = gather_rows(vectors, rows[low:high], pace)
        order = np.arange(high - low, dtype=np.int32)
        keys = np.empty(high - low, np.float32)
        bisect_subtree(block, order, 0, high - low, unit, leaf, low, seed, keys)
        rows[low:high] = rows[low:high][order]
        if use is not None:
            use(low, block[order])

    run_pieces(finish, small, threads, done)
    return rows


def _cut_large(
    vectors: npt.NDArray[Any],
    rows: Rows,
    unit: int,
    most: int,
    seed: int,
    threads: int,
    residency: Residency | None,
) -> list[tuple[int, int]]:
    """Reorder ``rows`` by the splits of all nodes of more than ``most`` rows; the nodes that remain."""
    small: list[tuple[int, int]] = []
    level = [(0, len(rows))]
    keys = np.empty(len(rows) if len(rows) > most else 0, np.float32)
    while level:
        large = [node for node in level if node[1] - node[0] > most]
        small += [node for node in level if node[1] - node[0] <= most]
        level = []
        for low, high in large:
            left = left_rows(high - low, unit)
            _project(vectors, rows, (low, high), seed, keys, threads, residency)
            split_rows(rows, keys, low, high, left)
            level += [(low, low + left), (low + left, high)]
    return sorted(small)


def _project(
    vectors: npt.NDArray[Any],
    rows: Rows,
    node: tuple[int, int],
    seed: int,
    keys: npt.NDArray[np.float32],
    threads: int,
    residency: Residency | None,
) -> None:
    low, high = node
    direction = np.empty(vectors.shape[1], np.float32)
    state = np.empty(1, np.uint64)
    picked = sample_node(rows, low, high, 0, seed, state)
    # gathered, since rows of a mapped file that lie apart make much of it resident
    sample = gather_rows(vectors, picked, Pace(residency, GATHER_ROWS))
    node_direction(sample, np.arange(len(sample), dtype=np.int32), state, direction)
    step = max(1, _CHUNK_BYTES // max(1, vectors.shape[1] * vectors.itemsize))

    def chunk(piece: tuple[int, int]) -> None:
        project_rows(vectors, rows, low + piece[0], low + piece[1], direction, keys)
        if residency is not None:
            residency.check()

    run_pieces(chunk, ranges(high - low, step), threads)
