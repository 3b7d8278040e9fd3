"""Near neighbours of every vector, by all pairs within the leaves of several random partitions.

Each partition is a balanced tree of its own seed; a leaf's pairs are one matrix product. The lists
are bounded and do not depend on the order in which leaves finish (cf. the partitioned builds of
PiPNN, arXiv 2602.21247). One pass over neighbours of neighbours then adds what no leaf had together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.packing import balanced_order, tree_nodes
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.kernels.neighbours import merge_leaf, refine_rows

__all__ = ["LIST_WIDTH", "neighbour_lists"]

LIST_WIDTH = 20
_LEAF_ROWS = 1024
_LEAF_UNIT = 32
_TREES = 12
_REFINE_WIDTH = 12

Lists = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def neighbour_lists(
    vectors: npt.NDArray[Any],
    seed: int,
    threads: int,
    done: Callable[[int, int], None] | None = None,
) -> Lists:
    """(ids int32, squared distances float32), each (n, LIST_WIDTH), ascending; -1 and inf behind the last."""
    rows = len(vectors)
    ids = np.full((rows, LIST_WIDTH), -1, np.int32)
    distances = np.full((rows, LIST_WIDTH), np.inf, np.float32)
    trees = 1 if rows <= _LEAF_ROWS else _TREES
    leaves = tree_nodes(rows, _LEAF_UNIT, _LEAF_ROWS)
    steps = trees * len(leaves)
    refine_steps = len(leaves) // 2 if trees > 1 else 0
    for tree in range(trees):
        order = balanced_order(vectors, _LEAF_UNIT, _LEAF_ROWS, seed * _TREES + tree, threads)

        def join(leaf: tuple[int, int], order: npt.NDArray[np.int32] = order) -> None:
            members = order[leaf[0] : leaf[1]]
            block = _centred(vectors[members])
            norms = np.einsum("ij,ij->i", block, block)
            merge_leaf(block @ block.T, norms, members, ids, distances)

        def report(finished: int, _: int, before: int = tree * len(leaves)) -> None:
            if done is not None:
                done(before + finished, steps + refine_steps)

        run_pieces(join, leaves, threads, report)
    if trees > 1:
        _refine(vectors, ids, distances, threads)
        if done is not None:
            done(steps + refine_steps, steps + refine_steps)
    return ids, distances


def _centred(block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A leaf as float32, floats around their mean: differences of large products lose small distances."""
    if block.dtype == np.float32:
        return np.asarray(block - block.mean(axis=0))
    return block.astype(np.float32)


def _refine(
    vectors: npt.NDArray[Any],
    ids: npt.NDArray[np.int32],
    distances: npt.NDArray[np.float32],
    threads: int,
) -> None:
    rows = len(vectors)
    old_ids, old_distances = ids.copy(), distances.copy()

    def part(piece: tuple[int, int]) -> None:
        marks = np.zeros(rows, np.int32)
        refine_rows(vectors, old_ids, old_distances, _REFINE_WIDTH, piece[0], piece[1], marks, ids, distances)

    run_pieces(part, ranges(rows, -(-rows // threads)), threads)
