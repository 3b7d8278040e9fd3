"""A wrong truth makes a recall curve that lies: the builder's own must be that of an exact scan."""

from __future__ import annotations

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.index.builder import heldout
from pageann.types import Metric

LARGEST_K = 100


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32"])
def test_truth_is_that_of_an_exact_scan(metric: Metric, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several blocks of rows and several tiles of queries, on one thread and on three."""
    monkeypatch.setattr(heldout, "SAMPLE_ROWS", 45)
    monkeypatch.setattr(heldout, "_MOST_TILE_QUERIES", 20)
    monkeypatch.setattr(heldout, "_BLOCK_BYTES", 4 * 24 * 300)
    base, _ = clustered(2500, 24, dtype=dtype, queries=0, seed=3)
    sample = heldout.draw_sample(base, metric, 5, 3, LARGEST_K)
    assert len(np.unique(sample.rows)) == 45
    np.testing.assert_array_equal(sample.queries, base[sample.rows].astype(np.float32))
    _, expected = exact_neighbours(base, sample.queries, LARGEST_K, metric, exclude=sample.rows)
    np.testing.assert_array_equal(sample.distances, expected)
    alone = heldout.draw_sample(base, metric, 5, 1, LARGEST_K)
    np.testing.assert_array_equal(alone.distances, sample.distances)


@pytest.mark.parametrize("metric", list(Metric))
def test_neighbours_of_queries_from_elsewhere(metric: Metric) -> None:
    """As for a sample of queries: rows too, and none left out."""
    base, queries = clustered(2500, 24, queries=30, seed=3)
    found = heldout.nearest_rows(base, queries, LARGEST_K, metric, 2)
    for ours, expected in zip(found, exact_neighbours(base, queries, LARGEST_K, metric), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_more_equal_rows_than_candidates() -> None:
    """Most distances are the same: the candidates cannot hold all of them, and are looked at again."""
    random = np.random.default_rng(0)
    base = np.repeat(random.integers(0, 3, (4, 8)).astype(np.float32), 200, axis=0)
    base += (
        np.float32(1e-3)
        * random.standard_normal(base.shape).astype(np.float32)
        * (random.random((800, 1)) < 0.1)
    )
    sample = heldout.draw_sample(base, Metric.L2, 1, 2, LARGEST_K)
    _, expected = exact_neighbours(base, sample.queries, LARGEST_K, Metric.L2, exclude=sample.rows)
    np.testing.assert_array_equal(sample.distances, expected)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_few_rows(rows: int) -> None:
    base, _ = clustered(rows, 6, queries=0)
    sample = heldout.draw_sample(base, Metric.L2, 0, 2, LARGEST_K)
    assert sample.distances.shape == (rows, max(1, rows - 1))
    _, expected = exact_neighbours(base, sample.queries, max(1, rows - 1), Metric.L2, exclude=sample.rows)
    np.testing.assert_array_equal(sample.distances, expected)
