"""Exact neighbours are those of a float64 scan, ranked by (distance, row), whatever rounding hides."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.datasets import truth
from pageann.datasets.source import open_vectors
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_distances, exact_neighbours
from pageann.errors import InvalidArgument
from pageann.types import DTYPES, Metric


def scanned_distances(base: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """Distances from the definition, by other arithmetic than the code under test."""
    wide, point = base.astype(np.longdouble), query.astype(np.longdouble)
    if metric is Metric.L2:
        return ((wide - point) ** 2).sum(axis=1)
    products = (wide * point).sum(axis=1)
    if metric is Metric.IP:
        return -products
    return 1 - products / (np.linalg.norm(wide, axis=1) * np.linalg.norm(point))


def assert_ranked(base: np.ndarray, queries: np.ndarray, k: int, metric: Metric, **options: Any) -> None:
    """The answer is that of ranking all rows by (exact distance, row)."""
    ids, distances = exact_neighbours(base, queries, k, metric, **options)
    exclude = options.get("exclude", np.full(len(queries), -1))
    for number, query in enumerate(queries):
        every = exact_distances(base, query, metric)
        order = np.argsort(every, kind="stable")
        expected = order[order != exclude[number]][:k]
        found = ids[number][: len(expected)]
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(distances[number][: len(expected)], every[expected])
        assert (ids[number][len(expected) :] == -1).all()
        assert np.isposinf(distances[number][len(expected) :]).all()


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_distances_agree_with_the_definition(metric: Metric, dtype: Any) -> None:
    base, queries = clustered(300, 37, dtype=dtype, queries=3, clusters=5)
    for query in queries:
        found = exact_distances(base, query, metric)
        np.testing.assert_allclose(found, scanned_distances(base, query, metric).astype(float), rtol=1e-12)


def test_integer_distances_are_exact_at_the_largest_dimension() -> None:
    base = np.zeros((2, 8192), np.uint8)
    base[1] = 255
    base[1, 0] = 254
    expected = 8191 * 255**2 + 254**2
    assert exact_distances(base, base[0], Metric.L2)[1] == expected
    assert exact_distances(base, base[1], Metric.IP)[1] == -expected


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("block_rows", [170, 5000])
def test_every_type_and_metric(metric: Metric, dtype: Any, block_rows: int) -> None:
    base, queries = clustered(2000, 24, dtype=dtype, queries=20, clusters=20)
    assert_ranked(base, queries, 10, metric, block_rows=block_rows)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_more_ties_than_candidates_are_ranked_by_row(metric: Metric, dtype: Any) -> None:
    base, queries = clustered(2000, 16, dtype=dtype, queries=4, clusters=4)
    base[np.random.default_rng(1).permutation(2000)[:700]] = base[5]
    queries[0] = base[5]
    assert_ranked(base, queries, 10, metric, block_rows=300)


def test_neighbours_that_float32_cannot_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)  # the way that rounds most
    random = np.random.default_rng(2)
    base = (1000 + random.integers(-3, 4, (3000, 8)) * np.float32(2**-13)).astype(np.float32)
    assert_ranked(base, base[:24].copy(), 10, Metric.L2, block_rows=700)


def test_the_second_pass_works_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "_TILE_VALUES", 500)
    base = np.ones((900, 4), np.float32)
    assert_ranked(base, np.ones((7, 4), np.float32), 3, Metric.L2, block_rows=200)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    k=st.integers(1, 70),
    block_rows=st.integers(1, 64),
    metric=st.sampled_from(Metric),
    seed=st.integers(0, 1000),
)
def test_few_rows_and_any_blocks(rows: int, k: int, block_rows: int, metric: Metric, seed: int) -> None:
    random = np.random.default_rng(seed)
    base = random.integers(1, 4, (rows, 3)).astype(np.int8)
    queries = random.integers(1, 4, (4, 3)).astype(np.int8)
    exclude = random.integers(-1, rows, 4)
    assert_ranked(base, queries, k, metric, block_rows=block_rows, exclude=exclude)


def test_queries_that_are_base_rows_leave_themselves_out() -> None:
    base, _ = clustered(1000, 16, queries=0)
    rows = np.array([3, 500, 999])
    ids, distances = exact_neighbours(base, base[rows], 5, Metric.L2, exclude=rows)
    assert not (ids == rows[:, None]).any()
    assert (distances > 0).all()
    with_itself, _ = exact_neighbours(base, base[rows], 6, Metric.L2)
    np.testing.assert_array_equal(with_itself[:, 0], rows)
    np.testing.assert_array_equal(with_itself[:, 1:], ids)


def test_queries_between_integers() -> None:
    base, _ = clustered(1000, 16, dtype="uint8", queries=0)
    assert_ranked(base, base[:5].astype(np.float32) + np.float32(0.25), 10, Metric.L2)


def test_a_source_serves_like_its_array() -> None:
    base, queries = clustered(500, 16, queries=3)
    blocks = (base[start : start + 99] for start in range(0, 500, 99))
    from_source = exact_neighbours(open_vectors(blocks, rows=500, dim=16), queries, 4, Metric.L2)
    from_array = exact_neighbours(base, queries, 4, Metric.L2)
    np.testing.assert_array_equal(from_source[0], from_array[0])
    np.testing.assert_array_equal(from_source[1], from_array[1])


def test_no_queries() -> None:
    base, _ = clustered(100, 8, queries=0)
    ids, distances = exact_neighbours(base, base[:0], 4, Metric.L2)
    assert ids.shape == distances.shape == (0, 4)


def thread_counts() -> dict[str, int]:
    return {library["filepath"]: library["num_threads"] for library in threadpoolctl.threadpool_info()}


def test_thread_settings_are_put_back() -> None:
    base, queries = clustered(500, 16, queries=3)
    before, openmp_before = thread_counts(), faiss.omp_get_max_threads()
    exact_neighbours(base, queries, 4, Metric.L2, threads=openmp_before + 1)
    assert thread_counts() == before
    with pytest.raises(ValueError, match="kaput"):
        exact_neighbours(_Kaput(base), queries, 4, Metric.L2, threads=openmp_before + 1)
    assert thread_counts() == before
    assert faiss.omp_get_max_threads() == openmp_before


class _Kaput:
    """An array whose rows cannot be read."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        raise ValueError("kaput")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"block_rows": 0}, "block_rows=0"),
        ({"queries": np.ones((2, 5))}, r"queries of shape \(2, 5\) do not fit"),
        ({"exclude": np.zeros(3, np.int64)}, "exclude names 3 rows for 2 queries"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"queries": np.ones((2, 4)), "k": 1, "metric": Metric.L2} | options
    with pytest.raises(InvalidArgument, match=message):
        exact_neighbours(np.ones((9, 4), np.float32), **call)
