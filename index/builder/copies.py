"""Lay some vectors on a second page, so that a search may read whichever page has more of what it wants.

Copies are packed like the vectors themselves, by a partition of its own, so the second pages cut the space
elsewhere. Vectors go first that have the fewest of their near neighbours on their own page: the boundary of a
page is where a search needs its neighbours too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.packing import SWAP_NEIGHBOURS, pack
from pageann.index.builder.parallel import ranges
from pageann.index.builder.residency import Pace, Residency
from pageann.index.builder.trees import gather_rows
from pageann.index.segment_files import Shape
from pageann.storage.files import Files

__all__ = ["copied_rows", "copy_order", "copy_places"]

Rows = npt.NDArray[np.int32]

_COPY_SEED = 7
"""Added to the seed: another partition than that of the pages."""
_BLOCK_ROWS = 8192
_CHOICE_ROW_BYTES = 20
"""What it takes to choose among rows: page, count, chance, and their order."""
_FILES = ("working-copied", "working-copied-lists")


def copy_order(
    vectors: npt.NDArray[Any],
    neighbours: Rows,
    order: Rows,
    shape: Shape,
    seed: int,
    threads: int,
    store: Checkpoints,
    files: Files,
    done: Callable[[int, int], None],
) -> Rows:
    """The row on each place of the pages of copies, int32 (copy_pages * capacity,), each at most once.

    ``vectors`` uint8 or float32 (n, dim), ``neighbours`` int32 (n, m) sorted by distance, -1 behind the last,
    ``order`` the row in each slot.
    """
    known = store.find("copies")
    if known is not None:
        return np.array(known.arrays["order"])
    residency = store.residency
    rows = copied_rows(neighbours, order, shape, seed, residency)
    residency.make_room(4 * len(vectors))
    paths = [store.scratch / name for name in _FILES]
    copied = residency.create(paths[0], vectors.dtype, (len(rows), vectors.shape[1]))
    lists = residency.create(paths[1], np.int32, (len(rows), SWAP_NEIGHBOURS))
    pace = Pace(residency, _BLOCK_ROWS)
    numbers = np.full(len(vectors) + 1, -1, np.int32)  # the last is what -1 finds
    numbers[rows] = np.arange(len(rows), dtype=np.int32)
    for first, last in ranges(len(rows), _BLOCK_ROWS):
        copied[first:last] = gather_rows(vectors, rows[first:last], pace)
        near = numbers[neighbours[rows[first:last], :SWAP_NEIGHBOURS]]
        kept_first = np.argsort(near < 0, axis=1, kind="stable")
        lists[first:last] = np.take_along_axis(near, kept_first, axis=1)
        residency.check()
    del numbers
    packing = pack(
        copied, lists, shape.capacity, seed + _COPY_SEED, threads, done, store=store, step="copy-packing"
    )
    found = rows[packing.order]
    del copied, lists
    for path in paths:
        files.unlink(path)
    store.finish("copies", None, {"order": found}, drop=("copy-packing",))
    store.save_if_due()
    return found


def copied_rows(neighbours: Rows, order: Rows, shape: Shape, seed: int, residency: Residency) -> Rows:
    """The rows that are copied, ascending: those with the fewest near neighbours on their own page.

    Where as many have the same number of them, chance decides, by ``seed``.
    """
    residency.make_room(_CHOICE_ROW_BYTES * len(order))
    pages = np.empty(len(order) + 1, np.int32)
    pages[order] = np.arange(len(order), dtype=np.int32) // shape.capacity
    pages[-1] = -1
    shared = np.empty(len(order), np.float32)
    for first, last in ranges(len(order), _BLOCK_ROWS):
        near = pages[neighbours[first:last, :SWAP_NEIGHBOURS]]
        shared[first:last] = (near == pages[first:last, None]).sum(axis=1)
        residency.check()
    shared += np.random.default_rng(seed).random(len(order), np.float32)
    wanted = shape.copy_pages * shape.capacity
    found = np.argsort(shared, kind="stable")[:wanted]
    return np.sort(found).astype(np.int32)


def copy_places(order: Rows, copied: Rows, shape: Shape) -> npt.NDArray[np.uint8]:
    """What ``copies.bin`` holds: one more than the page of copies that has the vector of each slot too, or 0.

    uint8 (rows, bytes of a number); ``copied`` is the row on each place of those pages.
    """
    numbers = np.zeros(len(order), np.uint32)
    numbers[copied] = 1 + np.arange(len(copied), dtype=np.uint32) // shape.capacity
    stored = numbers[order].astype("<u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(stored[:, : shape.copy_bytes])
