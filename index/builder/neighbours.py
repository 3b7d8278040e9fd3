"""Near neighbours of every vector, by all pairs within the leaves of several random partitions.

Each partition is a balanced tree of its own seed; a leaf's pairs are one matrix product. The lists
are bounded and do not depend on the order in which leaves finish (cf. the partitioned builds of
PiPNN, arXiv 2602.21247). One pass over neighbours of neighbours then adds what no leaf had together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace, Residency
from pageann.index.builder.trees import GATHER_ROWS, balanced_order, gather_rows, tree_nodes
from pageann.index.kernels.neighbours import merge_tile, refine_rows
from pageann.index.kernels.within import RUN
from pageann.storage.files import Files

__all__ = ["FEW_TREES", "LIST_WIDTH", "TREES", "neighbour_file", "neighbour_lists"]

LIST_WIDTH = 20
_LEAF_ROWS = 1024
_LEAF_UNIT = 32
TREES = 12
"""Where lists become links and representatives."""
FEW_TREES = 6
"""Where lists only say which swaps to try: packing gets as compact as with twelve.

Residual energy of 100,000 rows of photosift1m: 56,098 with 6 trees, 56,107 with 12; of 60,000 rows of
debian384: 0.5186 and 0.5185. (0.90 and 0.96, 0.87 and 0.92 of the true twenty are found.)
"""
_REFINE_WIDTH = 12
_REFINE_ROWS = 128
_TILE_ROWS = 128
"""Of a leaf, whose products are computed together: half a MiB of them."""
_SEEN_PLACES = 1 << (2 * LIST_WIDTH * (1 + _REFINE_WIDTH)).bit_length()

Lists = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
Done = Callable[[int, int], None]


class _Job:
    """The lists of one set of vectors while they grow, tree by tree."""

    def __init__(
        self,
        vectors: npt.NDArray[Any],
        seed: int,
        threads: int,
        done: Done | None,
        residency: Residency | None = None,
        first_unit: int = 0,
        trees: int = TREES,
    ) -> None:
        self._vectors = vectors
        self._seed = seed
        self._threads = threads
        self._done = done
        self._residency = residency
        self._pace = Pace(residency, GATHER_ROWS)
        self._first_unit = first_unit
        self.rows = len(vectors)
        self.trees = 1 if self.rows <= _LEAF_ROWS else trees
        self._leaves = tree_nodes(self.rows, _LEAF_UNIT, _LEAF_ROWS)
        self._refine_steps = len(self._leaves) if self.trees > 1 else 0
        self._steps = self.trees * len(self._leaves) + self._refine_steps

    def report(self, tree: int, share: float) -> None:
        """Say that ``tree`` is done by ``share``; the refinement counts as one more tree."""
        if self._done is not None:
            count = self._refine_steps if tree == self.trees else len(self._leaves)
            self._done(tree * len(self._leaves) + int(share * count), self._steps)

    def _merge(
        self, members: npt.NDArray[np.int32], ids: npt.NDArray[np.int32], distances: npt.NDArray[np.float32]
    ) -> None:
        """Merge all pairs of a leaf into the lists of its members.

        The lists are brought into memory for it and back; in mapped files a few at a time. Products of a
        few rows with all that come behind them stay near the processor until they have been looked at.
        """
        block = _centred(gather_rows(self._vectors, members, self._pace))
        count = len(block)
        near, gaps = (gather_rows(lists, members, self._pace) for lists in (ids, distances))
        norms, limits = np.zeros((2, count + RUN), np.float32)
        norms[:count] = np.einsum("ij,ij->i", block, block)
        limits[:count] = gaps[:, -1]
        for first, last in ranges(count, _TILE_ROWS):
            products = np.zeros((last - first, count - first + RUN), np.float32)
            np.matmul(block[first:last], block[first:].T, out=products[:, : count - first])
            merge_tile(products, norms, limits, first, members, near, gaps)
        for first, last in self._pace.runs(0, count):
            ids[members[first:last]] = near[first:last]
            distances[members[first:last]] = gaps[first:last]

    def join(self, tree: int, ids: npt.NDArray[np.int32], distances: npt.NDArray[np.float32]) -> None:
        """Merge all pairs of the leaves of one tree into the lists."""
        leaves = self._leaves
        if tree == 0 and self._first_unit:
            order = np.arange(self.rows, dtype=np.int32)
            leaves = tree_nodes(self.rows, self._first_unit, _LEAF_ROWS)
        else:
            seed = self._seed * TREES + tree
            order = balanced_order(
                self._vectors, _LEAF_UNIT, _LEAF_ROWS, seed, self._threads, self._residency
            )

        def join_leaf(leaf: tuple[int, int]) -> None:
            self._merge(order[leaf[0] : leaf[1]], ids, distances)

        run_pieces(
            join_leaf, leaves, self._threads, lambda finished, total: self.report(tree, finished / total)
        )

    def refine(
        self,
        lists: Lists,
        keep: Callable[[int, npt.NDArray[np.int32], npt.NDArray[np.float32]], None],
    ) -> None:
        """Hand the refined lists of runs of rows to ``keep(first row, ids, distances)``."""
        pieces = ranges(self.rows, _REFINE_ROWS)
        pace = Pace(self._residency, _REFINE_ROWS)

        def part(piece: tuple[int, int]) -> None:
            seen = np.zeros(_SEEN_PLACES, np.int64)
            new_ids = np.empty((piece[1] - piece[0], LIST_WIDTH), np.int32)
            new_distances = np.empty((piece[1] - piece[0], LIST_WIDTH), np.float32)
            for first, last in pace.runs(*piece):
                here = slice(first - piece[0], last - piece[0])
                refine_rows(
                    self._vectors,
                    *lists,
                    _REFINE_WIDTH,
                    first,
                    last,
                    seen,
                    new_ids[here],
                    new_distances[here],
                )
            keep(piece[0], new_ids, new_distances)

        run_pieces(
            part, pieces, self._threads, lambda finished, total: self.report(self.trees, finished / total)
        )


def neighbour_lists(
    vectors: npt.NDArray[Any], seed: int, threads: int, done: Done | None = None, *, trees: int = TREES
) -> Lists:
    """(ids int32, squared distances float32), each (n, LIST_WIDTH), ascending; -1 and inf behind the last."""
    job = _Job(vectors, seed, threads, done, trees=trees)
    ids = np.full((job.rows, LIST_WIDTH), -1, np.int32)
    distances = np.full((job.rows, LIST_WIDTH), np.inf, np.float32)
    for tree in range(job.trees):
        job.join(tree, ids, distances)
    if job.trees == 1:
        return ids, distances
    refined = np.empty_like(ids), np.empty_like(distances)

    def keep(first: int, new_ids: npt.NDArray[np.int32], new_distances: npt.NDArray[np.float32]) -> None:
        refined[0][first : first + len(new_ids)] = new_ids
        refined[1][first : first + len(new_ids)] = new_distances

    job.refine((ids, distances), keep)
    return refined


def neighbour_file(
    vectors: npt.NDArray[Any],
    first_unit: int,
    seed: int,
    threads: int,
    store: Checkpoints,
    files: Files,
    done: Done | None = None,
    *,
    trees: int = TREES,
) -> npt.NDArray[np.int32]:
    """The ids of :func:`neighbour_lists` in a file of the scratch folder, mapped; goes on where a build died.

    ``vectors`` lie in the order of a balanced tree of unit ``first_unit`` and this seed, which serves as
    the first partition. Lists grow in a mapped file; every few trees they are copied aside.
    """
    finished = store.find("neighbours")
    if finished is not None:
        return finished.arrays["ids"]
    job = _Job(vectors, seed, threads, done, store.residency, first_unit, trees)
    shape = (job.rows, LIST_WIDTH)
    ids = store.residency.create(store.scratch / "working-ids", np.int32, shape)
    distances = store.residency.create(store.scratch / "working-distances", np.float32, shape)
    first_tree = _start_lists(ids, distances, store)
    for tree in range(first_tree, job.trees):
        job.report(tree, 0.0)
        job.join(tree, ids, distances)
        if store.is_due:
            store.finish("trees", tree + 1, {"ids": ids, "distances": distances})
            store.save()
    path = store.new_path("neighbours")
    _write_refined(job, (ids, distances), path, files)
    mapped = store.residency.map(path, np.int32, shape)
    store.finish("neighbours", None, written={"ids": (path, mapped)}, drop=("trees",))
    for name in ("working-ids", "working-distances"):
        files.unlink(store.scratch / name)
    return mapped


def _start_lists(ids: npt.NDArray[np.int32], distances: npt.NDArray[np.float32], store: Checkpoints) -> int:
    """Fill the lists with what is known of them; how many trees have been joined."""
    known = store.find("trees")
    for first, last in ranges(len(ids), 65_536):
        ids[first:last] = -1 if known is None else known.arrays["ids"][first:last]
        distances[first:last] = np.inf if known is None else known.arrays["distances"][first:last]
        store.residency.check()
    return 0 if known is None else int(known.value)


def _write_refined(job: _Job, lists: Lists, path: Path, files: Files) -> None:
    file = files.create(path)

    def keep(first: int, new_ids: npt.NDArray[np.int32], _: npt.NDArray[np.float32]) -> None:
        file.pwrite(new_ids, first * LIST_WIDTH * new_ids.itemsize)

    try:
        if job.trees > 1:
            job.refine(lists, keep)
        else:
            keep(0, *lists)
    finally:
        file.close()


def _centred(block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A leaf as float32, floats around their mean: differences of large products lose small distances."""
    if block.dtype == np.float32:
        return np.asarray(block - block.mean(axis=0))
    return block.astype(np.float32)
