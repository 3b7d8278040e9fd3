"""The contract of results, checked against every distance in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann

_SAME = 1e-12
"""Relative difference of float64 sums taken in another order."""


def all_distances(base: NDArray[Any], queries: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """Distances (q, n): sums of integers are exact, all others are in double precision."""
    x, points = base.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.stack([np.square(x - point).sum(axis=1) for point in points]).reshape(len(points), len(x))
    products = np.stack([(x * point).sum(axis=1) for point in points]).reshape(len(points), len(x))
    if metric == "ip":
        return -products
    norms = np.sqrt(np.square(x).sum(axis=1)) * np.sqrt(np.square(points).sum(axis=1))[:, None]
    return np.asarray(1.0 - products / norms)


def ranked(distances: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Row numbers (q, min(k, n)) by (distance, row number)."""
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def _close(found: NDArray[np.float32], true: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether distances are the true ones, rounded; sums in another order may round to the next float32."""
    rounded = true.astype(np.float32)
    step = np.spacing(np.abs(rounded)) + np.float32(1e-15)  # 1e-15: cosine near 0 is a difference near 1
    return np.asarray(np.abs(found.astype(np.float64) - rounded) <= step)


def require_contract(
    result: pageann.SearchResult, base: NDArray[Any], queries: NDArray[Any], metric: str, k: int
) -> None:
    """Shapes, exact distances, order, no row twice, padding; ids are row numbers."""
    every = all_distances(base, queries, metric)
    shape = (len(queries), k)
    assert result.ids.shape == result.distances.shape == shape
    assert result.distances.dtype == np.float32
    assert result.counts.shape == result.complete.shape == (len(queries),)
    for number, count in enumerate(result.counts.tolist()):
        rows, distances = result.ids[number, :count], result.distances[number, :count]
        assert len(set(rows.tolist())) == count, "a row came back twice"
        assert ((rows >= 0) & (rows < len(base))).all()
        true = every[number, rows]
        assert _close(distances, true).all(), (number, distances, true)
        slack = _SAME * (1 + np.abs(true[1:]))
        assert (np.diff(true) >= -slack).all(), "distances ascend"
        tied = (base[rows[1:]] == base[rows[:-1]]).all(axis=1)
        if base.dtype.kind in "iu" and metric != "cosine":
            tied |= np.diff(true) == 0  # sums of whole numbers do not depend on their order
        assert (np.diff(rows)[tied] > 0).all(), "equal distances stand in the order of rows"
        assert (result.ids[number, count:] == -1).all()
        assert np.isposinf(result.distances[number, count:]).all()


def require_exact(
    result: pageann.SearchResult, base: NDArray[Any], queries: NDArray[Any], metric: str, k: int
) -> None:
    """The contract, and that these are the nearest rows of all."""
    require_contract(result, base, queries, metric, k)
    every = all_distances(base, queries, metric)
    kept = min(k, len(base))
    assert (result.counts == kept).all()
    assert result.complete.all()
    rows = ranked(every, kept)
    found = result.ids[:, :kept]
    nearest = np.take_along_axis(every, rows, axis=1)
    differing = found != rows
    other = np.take_along_axis(every, found, axis=1)
    assert (np.abs(other - nearest)[differing] <= _SAME * (1 + np.abs(nearest[differing]))).all()


def measured(result: pageann.SearchResult | pageann.RangeResult) -> pageann.QueryStats:
    """The statistics that a result was asked to keep."""
    assert result.stats is not None
    return result.stats


def recall(result: pageann.SearchResult, base: NDArray[Any], queries: NDArray[Any], metric: str) -> float:
    """Mean share of the true nearest rows that came back; a tie is no miss."""
    every = all_distances(base, queries, metric)
    k = min(result.ids.shape[1], len(base))
    last = np.take_along_axis(every, ranked(every, k)[:, -1:], axis=1)
    found = np.take_along_axis(every, np.maximum(result.ids, 0), axis=1)
    return float(((found <= last + 1e-6 * np.abs(last)) & (result.ids >= 0)).sum(axis=1).mean() / k)
