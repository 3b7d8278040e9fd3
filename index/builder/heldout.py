"""Exact neighbours within the memory of a build, and rows of the index to calibrate with by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.truth import Preselection, exact_among
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.residency import Pace, Residency
from pageann.index.builder.trees import GATHER_ROWS, gather_rows
from pageann.index.kernels.neighbours import merge_block
from pageann.index.kernels.within import RUN
from pageann.types import Metric

__all__ = ["SAMPLE_ROWS", "Sample", "draw_sample", "nearest_rows"]

Floats = npt.NDArray[np.float32]

SAMPLE_ROWS = 1000
_MOST_TILE_QUERIES = 500
"""Blocks of vectors are made ready once for a tile."""
_PRODUCT_BYTES = 8 << 20
_MOST_BLOCK_ROWS = 8192
_BLOCK_BYTES = 2 << 20
_SLACK = 32
"""Candidates beyond k, so that rounding rarely calls for another look."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Held-out queries with their truth."""

    rows: npt.NDArray[np.int64]
    queries: Floats
    integral: bool
    distances: npt.NDArray[np.float64]
    """(m, largest k), ascending."""

    def part(self, rows: int) -> Sample:
        """About ``rows`` of the queries, spread over all."""
        return self._every(0, max(1, len(self.rows) // rows))

    def parts(self, rows: int) -> tuple[Sample, ...]:
        """All of the queries in parts of about ``rows``, each spread over all; 0: in one."""
        step = max(1, len(self.rows) // rows) if rows else 1
        return tuple(self._every(first, step) for first in range(step))

    def _every(self, first: int, step: int) -> Sample:
        part = slice(first, None, step)
        queries = np.ascontiguousarray(self.queries[part])
        return Sample(self.rows[part], queries, self.integral, self.distances[part])


def draw_sample(
    vectors: npt.NDArray[Any],
    metric: Metric,
    seed: int,
    threads: int,
    largest_k: int,
    residency: Residency | None = None,
) -> Sample:
    """Up to SAMPLE_ROWS rows of ``vectors`` (n, dim), and their ``largest_k`` exact neighbours."""
    count = min(SAMPLE_ROWS, len(vectors))
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False)).astype(np.int64)
    queries = gather_rows(vectors, rows.astype(np.int32), Pace(residency, GATHER_ROWS)).astype(np.float32)
    k = max(1, min(largest_k, len(vectors) - 1))
    _, distances = nearest_rows(vectors, queries, k, metric, threads, residency, exclude=rows)
    return Sample(rows, queries, vectors.dtype.kind in "iu", distances)


def nearest_rows(
    vectors: npt.NDArray[Any],
    queries: Floats,
    k: int,
    metric: Metric,
    threads: int,
    residency: Residency | None = None,
    *,
    exclude: npt.NDArray[np.int64] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(rows (q, k), distances (q, k)): the exact neighbours of ``queries``, ascending.

    ``exclude`` (q,) names a row to leave out of each answer. Memory: some 12 MiB a thread beside the answer.
    """
    count = len(queries)
    ids, distances = np.empty((count, k), np.int64), np.empty((count, k))
    left_out = np.full(count, -1, np.int64) if exclude is None else exclude

    def tile(piece: tuple[int, int]) -> None:
        part = slice(*piece)
        found = _preselect(vectors, queries[part], min(k + 1 + _SLACK, len(vectors)), metric, residency)
        answer = exact_among(vectors, queries[part], k, metric, found, exclude=left_out[part])
        ids[part], distances[part] = answer

    most = min(_MOST_TILE_QUERIES, -(-count // threads), _PRODUCT_BYTES // (4 * _block_rows(vectors)))
    run_pieces(tile, ranges(count, max(1, most)), threads)
    return ids, distances


def _block_rows(vectors: npt.NDArray[Any]) -> int:
    """Vectors that are looked at together: some 2 MiB of them as float32."""
    return int(min(_MOST_BLOCK_ROWS, max(RUN, _BLOCK_BYTES // (4 * vectors.shape[1]))))


def _unit(block: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    return np.asarray(block / lengths[:, None], np.float32)


def _preselect(
    vectors: npt.NDArray[Any], queries: Floats, wanted: int, metric: Metric, residency: Residency | None
) -> Preselection:
    """The ``wanted`` nearest of all ``vectors`` by float32 products, block by block."""
    unit = metric is Metric.COSINE
    points = _unit(queries) if unit else queries
    ids = np.full((len(points), wanted), -1, np.int32)
    best = np.full((len(points), wanted), np.inf, np.float32)
    rows = _block_rows(vectors)
    products = np.zeros((len(points), rows + RUN), np.float32)
    norms, limits = np.zeros(rows + RUN, np.float32), np.full(rows + RUN, -np.inf, np.float32)
    largest = 0.0
    for first, last in ranges(len(vectors), rows):
        block = np.ascontiguousarray(vectors[first:last], dtype=np.float32)
        block = _unit(block) if unit else block
        lengths = np.einsum("ij,ij->i", block, block)
        largest = max(largest, float(lengths.max()))
        if metric is Metric.L2:
            norms[: last - first] = lengths
        np.matmul(points, block.T, out=products[:, : last - first])
        merge_block(products, norms, limits, first, last - first, ids, best)
        if residency is not None:
            residency.check()
    floors = best[:, -1].astype(np.float64)
    if metric is Metric.L2:
        floors += np.einsum("ij,ij->i", points, points, dtype=np.float64)
    else:
        floors = floors / 2 + (1.0 if unit else 0.0)
    if wanted == len(vectors):
        floors[:] = np.inf
    return Preselection(ids.astype(np.int64), floors, largest * (1.0 + 1e-6 * vectors.shape[1]))
