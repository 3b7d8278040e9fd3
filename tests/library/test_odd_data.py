"""Data that breaks averages: everything equal, half equal, constant columns, zeros, extremes.

Clusters that cannot be split, codes that tell nothing apart and ties by the thousand must still give an
index whose answers are right, and ties in the order of rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from tests.library.brute import measured, recall, require_contract, require_exact

ROWS, DIM = 1500, 16


def normal(rows: int = ROWS) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((rows, DIM)).astype(np.float32)


def half_equal() -> NDArray[np.float32]:
    vectors = normal()
    vectors[::2] = vectors[0]
    return vectors


def few_different() -> NDArray[np.float32]:
    return normal(7)[np.random.default_rng(2).integers(0, 7, ROWS)]


def constant_columns() -> NDArray[np.float32]:
    vectors = normal()
    vectors[:, 3:] = 2.5
    return vectors


def some_zeros() -> NDArray[np.float32]:
    vectors = normal()
    vectors[10:400] = 0
    return vectors


def far_apart() -> NDArray[np.float32]:
    vectors = normal()
    vectors[::3] *= 1e6
    vectors[1::3] *= 1e-6
    return vectors


def one_outlier() -> NDArray[np.float32]:
    vectors = normal()
    vectors[77] = 1e15
    return vectors


def on_a_line() -> NDArray[np.float32]:
    return (np.arange(ROWS, dtype=np.float32)[:, None] * np.ones(DIM, np.float32)).astype(np.float32)


def giant_cluster() -> NDArray[np.float32]:
    """All but a few within a hair of each other."""
    vectors = normal() * np.float32(1e-3) + 5
    vectors[::100] = 1000 * normal(ROWS // 100)
    return vectors


DATA = {
    "giant-cluster": giant_cluster,
    "all-equal": lambda: np.repeat(normal(1), ROWS, axis=0),
    "half-equal": half_equal,
    "few-different": few_different,
    "constant-columns": constant_columns,
    "some-zeros": some_zeros,
    "all-zeros": lambda: np.zeros((ROWS, DIM), np.float32),
    "far-apart": far_apart,
    "one-outlier": one_outlier,
    "on-a-line": on_a_line,
}
WITHOUT_DIRECTION = ("some-zeros", "all-zeros")


def require_sound(path: Path, base: NDArray[Any], queries: NDArray[Any], metric: str) -> None:
    """The contract at the default; exactness where all is looked at; bytes back."""
    with pageann.open(path, memory="16MiB", threads=1) as index:
        usual = index.search(queries, 10)
        full = index.search(queries, 10, effort=len(base))
        exact = index.search(queries, 10, exact=True)
        assert index.get(np.arange(len(base))).tobytes() == base.tobytes()
    require_contract(usual, base, queries, metric, 10)
    require_exact(full, base, queries, metric, 10)
    require_exact(exact, base, queries, metric, 10)
    np.testing.assert_array_equal(full.ids, exact.ids)
    assert recall(usual, base, queries, metric) >= 0.85 or measured(usual).warnings
    assert pageann.verify(path) == []


@pytest.mark.parametrize(
    ("metric", "memory"),
    [("l2", "2MiB"), ("l2", "90KiB"), ("ip", "2MiB"), pytest.param("ip", "90KiB", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", DATA)
def test_floats(tmp_path: Path, name: str, metric: str, memory: str) -> None:
    """Over codes of all vectors, and over pages with representatives."""
    base = DATA[name]()
    pageann.build(base, tmp_path / "index", metric=metric, memory=memory, threads=1)
    queries = np.concatenate([base[[0, 9, 77]], normal(4)[1:]])
    require_sound(tmp_path / "index", base, queries, metric)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("all-equal", "few-different") else pytest.param(name, marks=pytest.mark.slow)
        for name in DATA
        if name not in WITHOUT_DIRECTION
    ],
)
def test_directions(tmp_path: Path, name: str) -> None:
    base = DATA[name]()
    base[:, 0] += 1
    pageann.build(base, tmp_path / "index", metric="cosine", memory="2MiB", threads=1)
    queries = np.concatenate([base[[0, 9, 77]], normal(4)[1:]])
    require_sound(tmp_path / "index", base, queries, "cosine")


@pytest.mark.parametrize("name", WITHOUT_DIRECTION)
def test_a_vector_without_direction_is_refused_by_its_row(tmp_path: Path, name: str) -> None:
    with pytest.raises(pageann.InvalidData, match=f"row {10 if name == 'some-zeros' else 0} "):
        pageann.build(DATA[name](), tmp_path / "index", metric="cosine", memory="2MiB")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_extreme_integers(tmp_path: Path, dtype: str, metric: str) -> None:
    limits = np.iinfo(dtype)
    base = np.random.default_rng(0).choice([limits.min, limits.max], (ROWS, DIM)).astype(dtype)
    base[5:40] = 0
    base[100:900] = base[100]
    pageann.build(base, tmp_path / "index", metric=metric, memory="2MiB", threads=1)
    require_sound(tmp_path / "index", base, base[[0, 5, 100, 1400]], metric)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("memory", ["2MiB", "96KiB"])
def test_integer_ties(tmp_path: Path, metric: str, memory: str) -> None:
    """A few values an element: most distances are shared by hundreds of rows."""
    base = np.random.default_rng(3).integers(0, 3, (ROWS, DIM)).astype(np.uint8)
    pageann.build(base, tmp_path / "index", metric=metric, memory=memory, threads=1)
    require_sound(tmp_path / "index", base, base[[0, 5, 100, 1400]], metric)


@pytest.mark.parametrize(
    ("dim", "dtype", "metric"),
    [
        (3, "float32", "cosine"),
        (768, "float16", "l2"),
        (768, "float16", "ip"),
        (8192, "uint8", "l2"),
        pytest.param(8192, "float32", "ip", marks=pytest.mark.slow),
    ],
)
def test_ten_vectors(tmp_path: Path, dim: int, dtype: str, metric: str) -> None:
    base = (20 * np.random.default_rng(7).random((10, dim)) + 1).astype(dtype)
    pageann.build(base, tmp_path / "index", metric=metric, memory="24MiB", threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        result = index.search(base, 10)
        report = index.doctor()
    require_exact(result, base, base, metric, 10)
    assert report.graph.reached_pages == report.graph.pages
    assert report.data.duplicate_rows == 0


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "metric"), [("uint8", "l2"), ("float32", "ip")])
def test_8192_dimensions_of_many_pages(tmp_path: Path, dtype: str, metric: str) -> None:
    base = (20 * np.random.default_rng(8).random((300, 8192)) + 1).astype(dtype)
    pageann.build(base, tmp_path / "index", metric=metric, memory="24MiB", threads=1)
    require_sound(tmp_path / "index", base, base[[0, 9, 77]], metric)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e19])
def test_a_number_that_is_none_is_refused_by_its_row(tmp_path: Path, value: float) -> None:
    base = normal()
    base[1234, 5] = value
    with pytest.raises(pageann.InvalidData, match="row 1,234 "):
        pageann.build(base, tmp_path / "index", memory="2MiB")
    assert not (tmp_path / "index").exists()
