"""Decide where every vector lives: groups, their order, pages within groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.neighbours import FEW_TREES, LIST_WIDTH, neighbour_lists
from pageann.index.builder.packing import centroids_of, pack
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace, Residency
from pageann.index.builder.trees import GATHER_ROWS, gather_rows
from pageann.index.kernels.partition import bisect_subtree
from pageann.index.kernels.scan import LANES

__all__ = ["Arrangement", "arrange", "level_centroids", "ordering_bytes"]

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """``order`` int32 (n,): slot -> row; ``centroids`` float32 (groups, dim), in the order of the groups."""

    order: Rows
    centroids: Floats
    residual_energy: float


def ordering_bytes(groups: int, dim: int) -> int:
    """What it takes to put the centroids of ``groups`` groups in order: copies of them, and lists."""
    return groups * (2 * 4 * dim + 4 * LIST_WIDTH * 8)


def _locality_order(points: Floats, seed: int, threads: int) -> npt.NDArray[np.int64]:
    """Points ordered so that runs of 32 are compact cells, runs of 32 cells compact again, and so on."""
    count = len(points)
    if count <= LANES:
        return np.arange(count)
    neighbours, _ = neighbour_lists(points, seed, threads, trees=FEW_TREES)
    packing = pack(points, neighbours, LANES, seed, threads)
    full = count // LANES
    cells = packing.order[: full * LANES].reshape(full, LANES)
    order = cells[_locality_order(packing.centroids[:full], seed + 1, threads)].ravel()
    return np.concatenate([order, packing.order[full * LANES :]]).astype(np.int64)


def arrange(
    vectors: npt.NDArray[Any],
    neighbours: Rows,
    group_slots: int,
    capacity: int,
    seed: int,
    threads: int,
    done: Callable[[int, int], None] | None = None,
    *,
    in_order: bool = False,
    store: Checkpoints | None = None,
) -> Arrangement:
    """Pack ``vectors`` into compact groups, order those by locality, cut them into pages of ``capacity``.

    The one group that may be short comes last, so slot // group_slots is the group of a slot.
    ``in_order`` and ``store`` as in :func:`~pageann.index.builder.packing.pack`.
    """
    known = None if store is None else store.find("arrangement")
    if known is not None:
        return Arrangement(np.array(known.arrays["order"]), np.array(known.arrays["centroids"]), known.value)
    rows = len(vectors)
    packing = pack(vectors, neighbours, group_slots, seed, threads, done, in_order=in_order, store=store)
    full = rows // group_slots
    if store is not None:
        store.residency.make_room(ordering_bytes(full, vectors.shape[1]))
    by_locality = _locality_order(packing.centroids[:full], seed + 1, threads)
    order = packing.order[: full * group_slots].reshape(full, group_slots)[by_locality].ravel()
    order = np.ascontiguousarray(np.concatenate([order, packing.order[full * group_slots :]]))
    centroids = np.concatenate([packing.centroids[:full][by_locality], packing.centroids[full:]])
    if capacity < group_slots:
        residency = None if store is None else store.residency
        _cut_groups(vectors, order, group_slots, capacity, seed, threads, residency)
    made = Arrangement(order, np.ascontiguousarray(centroids), packing.residual_energy)
    if store is not None:
        arrays = {"order": made.order, "centroids": made.centroids}
        store.finish("arrangement", made.residual_energy, arrays, drop=("packing",))
        store.save_if_due()
    return made


def _cut_groups(
    vectors: npt.NDArray[Any],
    order: Rows,
    group_slots: int,
    capacity: int,
    seed: int,
    threads: int,
    residency: Residency | None,
) -> None:
    pace = Pace(residency, GATHER_ROWS)

    def piece(bounds: tuple[int, int]) -> None:
        for first, last in ranges(bounds[1] - bounds[0], group_slots):
            low, high = bounds[0] + first, bounds[0] + last
            block = gather_rows(vectors, order[low:high], pace)
            places = np.arange(high - low, dtype=np.int32)
            keys = np.empty(high - low, np.float32)
            bisect_subtree(block, places, 0, high - low, capacity, capacity, low, seed, keys)
            order[low:high] = order[low:high][places]

    run_pieces(piece, ranges(len(order), group_slots * 256), threads)


def level_centroids(centroids: Floats) -> list[Floats]:
    """Centroids of every level from the groups up: unit j of a level is the mean of 32 of the one below."""
    levels = [centroids]
    while len(levels[-1]) > LANES:
        below = levels[-1]
        levels.append(centroids_of(below, np.arange(len(below), dtype=np.int32), LANES))
    return levels
