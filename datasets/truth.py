"""Exact neighbours, and how much of them a search found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array, VectorSource, block_rows_for, release_pages
from pageann.errors import InvalidArgument
from pageann.types import Metric

__all__ = ["Preselection", "exact_among", "exact_distances", "exact_neighbours", "recall_at_k"]

Ids: TypeAlias = npt.NDArray[np.int64]
Distances: TypeAlias = npt.NDArray[np.float64]

_SLACK = 32  # candidates beyond k: enough that float32 rounding rarely calls for the second pass
_RANKED_TOGETHER = 8  # queries whose candidates, scattered over a mapped file, may be resident at once
_TILE_VALUES = 1 << 22  # distances held at once by the second pass: 16 MiB


@dataclass(frozen=True, slots=True)
class Preselection:
    """Candidates for the nearest rows of some queries, chosen by float32 distances."""

    candidates: Ids
    """``(q, m)`` base rows, padded with -1."""
    floors: Distances
    """``(q,)``: no other row has a float32 distance below this; inf: there is no other row."""
    largest: float
    """Greatest squared norm of the base; under cosine of its vectors at length one."""


def exact_distances(base_rows: Array, query: Array, metric: Metric) -> Distances:
    """Distances ``(m,)`` from one query ``(dim,)`` to base vectors ``(m, dim)``, summed in float64.

    l2 is squared, ip is minus the inner product, cosine is one minus the cosine. Integers up to
    8,192 dimensions are exact.
    """
    point = np.ascontiguousarray(query, dtype=np.float64)
    found = np.empty(len(base_rows), np.float64)
    step = block_rows_for(len(point), 8)
    for start in range(0, len(base_rows), step):
        rows = np.ascontiguousarray(base_rows[start : start + step], dtype=np.float64)
        found[start : start + step] = _row_distances(rows, point, metric)
    return found


def _row_distances(rows: Distances, point: Distances, metric: Metric) -> Distances:
    if metric is Metric.L2:
        difference = rows - point
        return np.asarray(np.einsum("ij,ij->i", difference, difference))
    products = np.einsum("ij,j->i", rows, point)
    if metric is Metric.IP:
        return np.asarray(-products)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows)) * np.sqrt(np.dot(point, point))
    return np.asarray(1.0 - products / norms)


def exact_neighbours(
    base: VectorSource | Array,
    queries: Array,
    k: int,
    metric: Metric,
    *,
    block_rows: int | None = None,
    threads: int | None = None,
    exclude: Ids | None = None,
) -> tuple[Ids, Distances]:
    """``(ids, distances)``, each ``(q, k)``: base rows by ascending (exact distance, row number).

    ``base`` is an ``(n, dim)`` array, a memmap or a source (which is then mapped), ``queries`` is
    ``(q, dim)``. ``exclude`` names, for each query, one base row to leave out (-1: none), for queries
    that are base rows. Where fewer than k rows remain, ids are -1 and distances inf.

    float32 products select the candidates of each block; float64 ranks them. A query whose
    candidates might lack a neighbour, by the bound of float32 rounding, is searched again with that
    bound, so the ranking is that of :func:`exact_distances` over all rows. Memory: about
    ``block_rows * dim * 4`` bytes (default: 8 MiB) and ``q * (k + 32) * 24``. ``threads`` is a limit
    for this call; the process's own settings are put back.
    """
    rows = base.mapped(None) if isinstance(base, VectorSource) else base
    points = np.ascontiguousarray(queries, dtype=np.float32)
    _require_fitting(rows, points, k, exclude)
    step = block_rows_for(rows.shape[1]) if block_rows is None else block_rows
    if step < 1:
        raise InvalidArgument(f"block_rows={step}: a block needs at least one row")
    left_out = np.full(len(points), -1, np.int64) if exclude is None else np.asarray(exclude, np.int64)
    with _thread_limit(threads):
        task = _Task(rows, points, k, metric, step, left_out)
        return _solve(task, _preselect(task))


def exact_among(
    base: Array, queries: Array, k: int, metric: Metric, found: Preselection, *, exclude: Ids
) -> tuple[Ids, Distances]:
    """What :func:`exact_neighbours` gives, from candidates that somebody else has found.

    For the builder, which has its own kernels and threads, and which loads no faiss. A query whose
    candidates might lack a neighbour is searched again here too.
    """
    points = np.ascontiguousarray(queries, dtype=np.float32)
    _require_fitting(base, points, k, exclude)
    return _solve(_Task(base, points, k, metric, block_rows_for(base.shape[1]), exclude), found)


def recall_at_k(
    found_distances: Array, true_distances: Array, k: int, *, relative_slack: float = 1e-6
) -> Distances:
    """Recall of each query ``(q,)``: its share of the min(k, n) nearest, judged by distance.

    Both arguments are ``(q, >= k)``, ascending, padded with inf; ``found_distances`` must be exact. A
    found row counts where its distance is at most that of the last of the true ones, so another row
    of the same distance is no miss.
    """
    if k < 1:
        raise InvalidArgument(f"k={k}: at least one neighbour is needed")
    if true_distances.shape[1] < k:
        raise InvalidArgument(f"k={k}: the truth holds only {true_distances.shape[1]} neighbours a query")
    if len(found_distances) != len(true_distances):
        raise InvalidArgument(f"{len(found_distances):,} results for the truth of {len(true_distances):,}")
    truth = np.asarray(true_distances[:, :k], np.float64)
    found = np.asarray(found_distances[:, :k], np.float64)
    present = np.isfinite(truth).sum(axis=1)
    last = np.take_along_axis(truth, np.maximum(present - 1, 0)[:, None], axis=1)[:, 0]
    limit = last + relative_slack * np.abs(last)
    hits = (np.isfinite(found) & (found <= limit[:, None])).sum(axis=1)
    return np.asarray(np.where(present > 0, np.minimum(hits, present) / np.maximum(present, 1), 1.0))


@dataclass(frozen=True, slots=True)
class _Task:
    rows: Array
    queries: npt.NDArray[np.float32]
    k: int
    metric: Metric
    block_rows: int
    exclude: Ids

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """``(first row, float32 block)``; under cosine the vectors have norm one."""
        for start in range(0, len(self.rows), self.block_rows):
            block = np.ascontiguousarray(self.rows[start : start + self.block_rows], dtype=np.float32)
            yield start, self.scaled(block)
            release_pages(self.rows)

    def scaled(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.metric is not Metric.COSINE:
            return vectors
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        return np.asarray(vectors / norms[:, None], np.float32)


def _require_fitting(rows: Array, queries: Array, k: int, exclude: Ids | None) -> None:
    if rows.ndim != 2 or queries.ndim != 2 or rows.shape[1] != queries.shape[1]:
        raise InvalidArgument(f"base of shape {rows.shape} and queries of shape {queries.shape} do not fit")
    if k < 1:
        raise InvalidArgument(f"k={k}: at least one neighbour is needed")
    if exclude is not None and len(exclude) != len(queries):
        raise InvalidArgument(f"exclude names {len(exclude):,} rows for {len(queries):,} queries")


@contextmanager
def _thread_limit(threads: int | None) -> Iterator[None]:
    """At most ``threads`` threads in OpenMP and BLAS, of faiss and of NumPy, until the block ends."""
    import faiss  # noqa: F401  (its libraries must be loaded to be limited)
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=threads):
        yield


def _solve(task: _Task, found: Preselection) -> tuple[Ids, Distances]:
    candidates, floors = found.candidates, found.floors
    margins = _rounding_margins(task, task.scaled(task.queries), found.largest)
    count = len(task.queries)
    ids = np.full((count, task.k), -1, np.int64)
    distances = np.full((count, task.k), np.inf)
    for query in range(count):
        known = candidates[query]
        ids[query], distances[query] = _ranked(task, query, known[known >= 0])
        if query % _RANKED_TOGETHER == 0:
            release_pages(task.rows)
    unsure = np.flatnonzero(np.isfinite(floors) & ~(distances[:, -1] + margins < floors))
    if unsure.size:
        _search_again(task, unsure, margins, ids, distances)
    return ids, distances


def _ranked(task: _Task, query: int, candidates: Ids) -> tuple[Ids, Distances]:
    """The best k of some base rows, by exact distance and row, padded."""
    kept = np.sort(candidates[candidates != task.exclude[query]])
    found = exact_distances(task.rows[kept], task.queries[query], task.metric)
    order = np.argsort(found, kind="stable")[: task.k]
    ids = np.full(task.k, -1, np.int64)
    distances = np.full(task.k, np.inf)
    ids[: len(order)] = kept[order]
    distances[: len(order)] = found[order]
    return ids, distances


def _preselect(task: _Task) -> Preselection:
    import faiss

    wanted = min(task.k + _SLACK, len(task.rows))
    queries = task.scaled(task.queries)
    kind: Any = faiss.METRIC_L2 if task.metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
    ids = np.full((len(queries), wanted), -1, np.int64)
    best = np.full((len(queries), wanted), np.inf, np.float32)
    largest = 0.0
    for start, block in task.blocks():
        largest = max(largest, float(_squared_norms(block).max()))
        found, rows = faiss.knn(queries, block, min(wanted, len(block)), metric=kind)
        near = found if task.metric is Metric.L2 else -found
        merged = np.concatenate([best, near], axis=1)
        merged_ids = np.concatenate([ids, rows + start], axis=1)
        keep = np.argpartition(merged, wanted - 1, axis=1)[:, :wanted]
        best = np.take_along_axis(merged, keep, axis=1)
        ids = np.take_along_axis(merged_ids, keep, axis=1)
    floors = best.max(axis=1).astype(np.float64) + (1.0 if task.metric is Metric.COSINE else 0.0)
    if wanted == len(task.rows):
        floors[:] = np.inf
    return Preselection(ids, floors, largest)


def _squared_norms(vectors: npt.NDArray[np.float32]) -> Distances:
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def _rounding_margins(task: _Task, queries: npt.NDArray[np.float32], largest: float) -> Distances:
    """How far, at most, a float32 distance of each query lies from the exact one.

    ``largest`` is the greatest squared norm of the base. The bound is that of a sum of ``dim``
    products in any order (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    magnitudes = (np.sqrt(_squared_norms(queries)) + np.sqrt(largest)) ** 2
    integers = task.rows.dtype.kind in "iu" and bool((queries == np.rint(queries)).all())
    if integers and task.metric is not Metric.COSINE and magnitudes.max(initial=0.0) < 2**24:
        return np.zeros(len(queries))  # every partial sum is an integer that float32 holds
    return np.asarray((task.rows.shape[1] + 8) * 2.0**-24 * magnitudes)


def _search_again(task: _Task, unsure: Ids, margins: Distances, ids: Ids, distances: Distances) -> None:
    """Replace the answers of some queries by those over every row that rounding might hide."""
    limits = np.nextafter(distances[unsure, -1], np.inf)
    ids[unsure] = -1
    distances[unsure] = np.inf
    for start, block in task.blocks():
        tile = max(1, _TILE_VALUES // len(block))
        for first in range(0, len(unsure), tile):
            part = unsure[first : first + tile]
            reach = limits[first : first + tile] + margins[part]
            near = _float32_distances(task, part, block) < reach[:, None]
            for query, row_mask in zip(part, near, strict=True):
                rows = np.flatnonzero(row_mask) + start
                if rows.size:
                    _merge(task, int(query), rows, ids, distances)
        # blocks come in row order: a later row of the same distance never displaces an earlier one
        limits = np.minimum(limits, distances[unsure, -1])


def _float32_distances(task: _Task, part: Ids, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Distances ``(len(part), rows)`` by one matrix product, as far off as the margins allow."""
    queries = task.scaled(task.queries[part])
    products = queries @ block.T
    if task.metric is Metric.IP:
        return -products
    if task.metric is Metric.COSINE:
        return np.float32(1.0) - products
    squared = _squared_norms(queries)[:, None] + _squared_norms(block)[None, :]
    return np.asarray(squared - 2.0 * products, np.float32)


def _merge(task: _Task, query: int, rows: Ids, ids: Ids, distances: Distances) -> None:
    """Let ``rows``, all behind the ones already held, compete for the k places of one query."""
    new_ids, new_distances = _ranked(task, query, rows)
    merged = np.concatenate([distances[query], new_distances])
    order = np.argsort(merged, kind="stable")[: task.k]
    ids[query] = np.concatenate([ids[query], new_ids])[order]
    distances[query] = merged[order]
