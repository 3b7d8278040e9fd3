"""Compare queries with every vector of a block of pages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.distance import exact_value
from pageann.index.kernels.pool import insert_result
from pageann.jit import kernel

__all__ = ["Nearest", "ScanLayout", "ScanQueries", "inverse_norms", "scan_block"]


class ScanLayout(NamedTuple):
    """Where vectors lie on a page, and how they are compared."""

    vectors_offset: int
    vector_bytes: int
    capacity: int
    dim: int
    dtype: int
    metric: int
    integral: int
    """Whether all queries are whole numbers, so that integers are summed as integers."""


class ScanQueries(NamedTuple):
    """The queries in each form that distances are computed from."""

    values: npt.NDArray[np.float64]
    integers: npt.NDArray[np.int32]
    inverse_norms: npt.NDArray[np.float64]


class Nearest(NamedTuple):
    """The nearest rows found so far, one row of each array a query, by (distance, row)."""

    distances: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@kernel
def inverse_norms(values, norms):  # type: ignore[no-untyped-def]
    """1 / |query|, 0 for zeros, of each of ``values`` (q, dim), summed in the order of a search."""
    for i in range(values.shape[0]):
        square = 0.0
        for j in range(values.shape[1]):
            square += values[i, j] * values[i, j]
        norms[i] = 1.0 / np.sqrt(square) if square > 0 else 0.0


@kernel
def scan_block(layout, pages, rows, queries, nearest):  # type: ignore[no-untyped-def]
    """Offer the vectors of ``pages`` uint8 (count, page_bytes) to every query.

    ``rows`` int64 (m,) are their row numbers, in the order of places; all pages but the last are full.
    """
    first = np.int64(pages.ctypes.data) + layout.vectors_offset
    for query in range(queries.values.shape[0]):
        count = nearest.counts[query]
        distances = nearest.distances[query]
        found = nearest.rows[query]
        for i in range(rows.shape[0]):
            page = i // layout.capacity
            place = i - page * layout.capacity
            value = exact_value(
                first + page * pages.shape[1] + place * layout.vector_bytes, layout.dim, layout.dtype,
                layout.metric, layout.integral != 0, queries.values[query], queries.integers[query],
                queries.inverse_norms[query],
            )  # fmt: skip
            # Slots are not kept: their place in the list is taken by the rows once more.
            count = insert_result(distances, found, found, count, value, rows[i], rows[i])
        nearest.counts[query] = count
