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

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace, Residency
from pageann.index.builder.trees import balanced_order
from pageann.index.kernels.packing import apply_swaps, page_centroids, propose_swaps

__all__ = ["SWAP_NEIGHBOURS", "Packing", "centroids_of", "pack", "squared_norms"]

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_SWAP_PASSES = 8
SWAP_NEIGHBOURS = 16
"""Of each list, whose pages a vector may move to."""
_SWAP_REACH = 0.1
_LEAST_GAIN = 0.002
_SWAP_BLOCK_ROWS = 8192
"""Rows whose swaps are judged by the same state, before any of them is made."""
_SWAP_PIECE_ROWS = 128
_APPLIED_ROWS = 1024
_NORM_ROWS = 8192
_CENTROID_PAGES = 256


@dataclass(frozen=True, slots=True)
class Packing:
    """``order`` int32 (n,): slot -> row; ``centroids`` float32 (pages, dim); mean squared residual."""

    order: Rows
    centroids: Floats
    residual_energy: float


def squared_norms(vectors: npt.NDArray[Any], threads: int, residency: Residency | None = None) -> Floats:
    """Squared length of each row."""
    norms = np.empty(len(vectors), np.float32)

    def block(piece: tuple[int, int]) -> None:
        part = np.asarray(vectors[piece[0] : piece[1]], dtype=np.float32)
        norms[piece[0] : piece[1]] = np.einsum("ij,ij->i", part, part)
        if residency is not None:
            residency.check()

    run_pieces(block, ranges(len(vectors), _NORM_ROWS), threads)
    return norms


def centroids_of(
    vectors: npt.NDArray[Any],
    order: Rows,
    capacity: int,
    threads: int = 1,
    residency: Residency | None = None,
) -> Floats:
    """Mean of each run of ``capacity`` slots, float32 (pages, dim)."""
    centroids = np.empty((-(-len(order) // capacity), vectors.shape[1]), np.float32)

    def piece(pages: tuple[int, int]) -> None:
        page_centroids(vectors, order, capacity, pages[0], pages[1], centroids)
        if residency is not None:
            residency.check()

    run_pieces(piece, ranges(len(centroids), _CENTROID_PAGES), threads)
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
    *,
    in_order: bool = False,
    store: Checkpoints | None = None,
    step: str = "packing",
) -> Packing:
    """Pages of ``capacity`` slots, all full but the last.

    ``vectors`` uint8 or float32 (n, dim), ``neighbours`` int32 (n, m) sorted by distance, -1 behind
    the last. With ``in_order`` the rows lie in the order of their balanced tree already. With a
    ``store`` each pass is a checkpoint, called ``step``.
    """
    residency = None if store is None else store.residency
    known = None if store is None else store.find(step)
    if known is not None:
        order = np.array(known.arrays["order"])
    elif in_order:
        order = np.arange(len(vectors), dtype=np.int32)
    else:
        order = balanced_order(vectors, capacity, capacity, seed, threads, residency)
    centroids = centroids_of(vectors, order, capacity, threads, residency)
    norms = squared_norms(vectors, threads, residency)
    if len(centroids) > 1 and capacity > 1:
        pace = Pace(residency, _SWAP_PIECE_ROWS)
        swaps = _Swaps(vectors, norms, neighbours, capacity, threads, residency, pace, order, centroids)
        first_pass, least_gain = known.value if known is not None else (0, swaps.least_gain)
        for number in range(first_pass, _SWAP_PASSES):
            removed = swaps.run_pass(number, done)
            if removed < least_gain:
                break
            if store is not None and store.is_due:
                store.finish(step, [number + 1, least_gain], {"order": order})
                store.save()
        if done is not None:
            done(_SWAP_PASSES, _SWAP_PASSES)
    return Packing(order, centroids, _energy(norms, order, centroids, capacity))


@dataclass(frozen=True, slots=True)
class _Swaps:
    """Passes of swaps that change ``order`` and ``centroids`` in place."""

    vectors: npt.NDArray[Any]
    norms: Floats
    neighbours: Rows
    capacity: int
    threads: int
    residency: Residency | None
    pace: Pace
    order: Rows
    centroids: Floats

    @property
    def least_gain(self) -> float:
        """A pass that removes less energy is the last."""
        mean = _energy(self.norms, self.order, self.centroids, self.capacity)
        return _LEAST_GAIN * max(mean * len(self.order), 1e-30)

    def run_pass(self, number: int, done: Callable[[int, int], None] | None) -> float:
        """Try a swap for every row; the energy removed."""
        rows = len(self.order)
        slots = np.empty(rows, np.int32)
        slots[self.order] = np.arange(rows, dtype=np.int32)
        proposals = np.empty(rows, np.int32)
        starts = ranges(rows, _SWAP_BLOCK_ROWS)
        removed = 0.0
        for block, (first, last) in enumerate(starts):
            self._propose(slots, first, last, proposals)
            for low, high in ranges(last - first, _APPLIED_ROWS):
                _, gain = apply_swaps(
                    self.vectors, self.norms, self.order, slots, self.capacity, self.centroids,
                    first + low, first + high, proposals,
                )  # fmt: skip
                removed += gain
                if self.residency is not None:
                    self.residency.check()
            if done is not None:
                done(number * len(starts) + block + 1, _SWAP_PASSES * len(starts))
        # sums of rounding do not grow from pass to pass, and a pass follows from the order alone
        self.centroids[:] = centroids_of(
            self.vectors, self.order, self.capacity, self.threads, self.residency
        )
        return removed

    def _propose(self, slots: Rows, first: int, last: int, proposals: Rows) -> None:
        def piece(bounds: tuple[int, int]) -> None:
            for low, high in self.pace.runs(first + bounds[0], first + bounds[1]):
                near = np.ascontiguousarray(self.neighbours[low:high, :SWAP_NEIGHBOURS])
                propose_swaps(
                    self.vectors, self.norms, near, self.order, slots, self.capacity, self.centroids,
                    low, high, np.float32(_SWAP_REACH), proposals,
                )  # fmt: skip

        run_pieces(piece, ranges(last - first, _SWAP_PIECE_ROWS), self.threads)
