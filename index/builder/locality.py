"""Copy the input into the order of a balanced tree, so that what is compared lies together.

All later phases work on this copy: rows that are near in space are near in the file, and a phase that
goes through it forwards touches little of it at a time. Rows of the copy are called *places*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.navigation import INT8_SHIFT, Navigation, navigation_view
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace
from pageann.index.builder.trees import GATHER_ROWS, balanced_order, gather_rows
from pageann.storage.files import Files
from pageann.types import Metric

__all__ = ["LocalCopy", "copy_by_locality"]

_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """The input in the order of a tree."""

    navigation: Navigation
    """(n, dim) as the builder compares them."""
    rows: npt.NDArray[np.int32]
    """(n,): the row of the input at each place."""
    given: npt.NDArray[Any] | None
    """(n, dim) as given, where that does not follow from the navigation."""
    dtype: np.dtype[Any]

    def stored(self, places: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Vectors as they were given, by place."""
        if self.given is not None:
            return np.asarray(self.given[places])
        block = self.navigation.array[places]
        if self.dtype == np.int8:
            return np.asarray((block ^ np.uint8(INT8_SHIFT)).view(np.int8))
        return np.asarray(block.astype(self.dtype, copy=False))


def copy_by_locality(
    vectors: npt.NDArray[Any],
    metric: Metric,
    unit: int,
    seed: int,
    threads: int,
    store: Checkpoints,
    files: Files,
    done: Callable[[int, int], None] | None = None,
) -> LocalCopy:
    """The input in the order of a balanced tree cut at multiples of ``unit``, down to nodes of one."""
    shift = INT8_SHIFT if vectors.dtype == np.int8 and metric is not Metric.COSINE else 0
    step = store.find("places")
    if step is None:
        residency = store.residency
        residency.watch(vectors)
        navigation = navigation_view(vectors, metric, store.scratch, residency)
        path = store.new_path("places-navigation")
        file = files.create(path)
        row_bytes = navigation.array.shape[1] * navigation.array.itemsize
        try:
            rows = balanced_order(
                navigation.array, unit, unit, seed, threads, residency,
                lambda place, block: file.pwrite(block, place * row_bytes), done,
            )  # fmt: skip
        finally:
            file.close()
        written = {"navigation": (path, residency.map(path, navigation.array.dtype, vectors.shape))}
        if metric is Metric.COSINE:
            written["given"] = _copy_given(vectors, rows, threads, store, files)
        step = store.finish("places", None, {"rows": rows}, written=written)
    array = step.arrays["navigation"]
    return LocalCopy(
        Navigation(array, array, shift), step.arrays["rows"], step.arrays.get("given"), vectors.dtype
    )


def _copy_given(
    vectors: npt.NDArray[Any], rows: npt.NDArray[np.int32], threads: int, store: Checkpoints, files: Files
) -> tuple[Any, npt.NDArray[Any]]:
    path = store.new_path("places-given")
    row_bytes = vectors.shape[1] * vectors.itemsize
    file = files.create(path)

    pace = Pace(store.residency, GATHER_ROWS)

    def copy(piece: tuple[int, int]) -> None:
        block = gather_rows(vectors, rows[piece[0] : piece[1]], pace)
        file.pwrite(block, piece[0] * row_bytes)

    try:
        run_pieces(copy, ranges(len(rows), max(1, _BLOCK_BYTES // row_bytes)), threads)
    finally:
        file.close()
    return path, store.residency.map(path, vectors.dtype, vectors.shape)
