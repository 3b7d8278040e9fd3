"""The exact scan agrees with NumPy for every type and metric, in order, ties and padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.types import DTYPES, Metric
from tests.index.record_files import layout_of, random_order, reading, write_records


def small_vectors(rows: int, dim: int, dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """Whole numbers of few values, so that ties abound; no row is all zeros."""
    low = 0 if np.dtype(dtype).kind == "u" else -3
    vectors = generator.integers(low, 4, (rows, dim))
    vectors[~vectors.any(axis=1), 0] = 1
    return vectors.astype(dtype)


def all_distances(vectors: NDArray[Any], queries: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """(q, n) in double precision."""
    base, points = vectors.astype(np.float64), queries.astype(np.float64)
    if metric is Metric.L2:
        return np.asarray(((points[:, None, :] - base) ** 2).sum(axis=2))
    products = points @ base.T
    if metric is Metric.IP:
        return -products
    norms = np.sqrt((points**2).sum(axis=1))[:, None] * np.sqrt((base**2).sum(axis=1))
    return np.asarray(1.0 - products / norms)


def nearest(distances: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The twin: a stable sort of everything, padded."""
    queries, rows = distances.shape
    found = np.full((queries, k), -1)
    values = np.full((queries, k), np.inf)
    ranking = np.argsort(distances, axis=1, kind="stable")[:, :k]
    found[:, : min(k, rows)] = ranking
    values[:, : min(k, rows)] = np.take_along_axis(distances, ranking, axis=1)
    return found, values


@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(
    rows=st.integers(1, 70),
    dim=st.integers(1, 33),
    k=st.integers(1, 12),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_numbers_with_ties(
    tmp_path: Path, metric: Metric, dtype: Any, rows: int, dim: int, k: int, threads: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    vectors = small_vectors(rows, dim, dtype, generator)
    queries = small_vectors(3, dim, np.float32, generator)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(rows, seed))
    expected_rows, expected = nearest(all_distances(vectors, queries, metric), k)
    for integral in {False, dtype.kind in "iu"}:
        with reading(path, layout, rows) as reader:
            found, distances = reader.exact_scan(queries, k, metric, integral=integral, threads=threads)
        assert found.dtype == np.int64
        assert np.array_equal(found, expected_rows)
        assert np.array_equal(distances, expected)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_numbers(tmp_path: Path, metric: Metric, dtype: Any, threads: int) -> None:
    generator = np.random.default_rng(8)
    scaled = (
        generator.standard_normal((400, 24)) * (1 if dtype.kind == "f" else 30) + (dtype.kind == "u") * 100
    )
    vectors = (np.clip(scaled, 0, 255) if dtype.kind == "u" else scaled).astype(dtype)
    queries = (generator.standard_normal((6, 24)) * 20).astype(np.float32)
    layout = layout_of(vectors, row_bytes=8)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(400))
    expected_rows, expected = nearest(all_distances(vectors, queries, metric), 20)
    with reading(path, layout, 400) as reader:
        found, distances = reader.exact_scan(queries, 20, metric, integral=False, threads=threads)
    assert np.array_equal(found, expected_rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-12, atol=1e-14)


def test_large_integers_are_summed_exactly(tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    vectors = generator.integers(0, 256, (50, 8000)).astype(np.uint8)
    queries = generator.integers(0, 256, (2, 8000)).astype(np.float32)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(50))
    wide = vectors.astype(np.int64)
    exact = ((wide - queries.astype(np.int64)[:, None, :]) ** 2).sum(axis=2)
    with reading(path, layout, 50) as reader:
        found, distances = reader.exact_scan(queries, 50, Metric.L2, integral=True)
    assert np.array_equal(np.take_along_axis(exact, found, axis=1), distances)
    assert np.array_equal(np.sort(exact, axis=1), distances)


def test_more_wanted_than_there_are_rows(tmp_path: Path) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(6))
    with reading(path, layout, 6) as reader:
        found, distances = reader.exact_scan(vectors[:1], 9, Metric.L2, integral=False, threads=2)
        none, _ = reader.exact_scan(vectors[:0], 9, Metric.L2, integral=False)
    assert found[0].tolist() == [0, 1, 2, 3, 4, 5, -1, -1, -1]
    assert np.isinf(distances[0, 6:]).all()
    assert none.shape == (0, 9)


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(10)
    vectors = generator.standard_normal((900, 40)).astype(np.float32)
    queries = generator.standard_normal((5, 40)).astype(np.float32)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(900))
    with reading(path, layout, 900) as reader:
        results = [
            reader.exact_scan(queries, 30, Metric.COSINE, integral=False, threads=threads)
            for threads in (1, 2, 3, 200)
        ]
    assert len({rows.tobytes() + distances.tobytes() for rows, distances in results}) == 1
