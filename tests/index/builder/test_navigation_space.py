"""Vectors that are compared in another form than queries are never found.

The builder's view must be the space that queries are brought into, without a copy where none is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.builder import navigation
from pageann.index.builder.navigation import INT8_SHIFT, navigation_view
from pageann.types import DTYPES, Metric
from tests.reference.navigation_twin import navigation_vectors


def sample(dtype: Any, rows: int = 50, dim: int = 7) -> NDArray[Any]:
    return clustered(rows, dim, dtype=dtype, queries=0, seed=3)[0]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_the_view_is_navigation_space(
    dtype: np.dtype[Any], metric: Metric, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(navigation, "_BLOCK_BYTES", block_bytes)
    vectors = sample(dtype)
    before = vectors.copy()
    view = navigation_view(vectors, metric, tmp_path)
    expected = navigation_vectors(vectors, metric)
    assert view.array.dtype == (
        np.uint8 if metric is not Metric.COSINE and dtype.itemsize == 1 else np.float32
    )
    assert view.array.flags.c_contiguous
    assert view.array.flags.writeable, "kernels compile for one kind of array"
    assert view.array == pytest.approx(expected, rel=1e-6)
    shifted = dtype == np.int8 and metric is not Metric.COSINE
    assert view.shift == (INT8_SHIFT if shifted else 0)
    rows = np.array([5, 5, 0, 49])
    assert view.take(rows).dtype == np.float32
    assert (view.take(rows) == view.array[rows].astype(np.float32)).all()
    assert (vectors == before).all()
    assert list(tmp_path.iterdir()) == [], "the copy has no name"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP])
def test_what_needs_no_conversion_is_not_copied(dtype: Any, metric: Metric, tmp_path: Path) -> None:
    vectors = sample(dtype)
    vectors.flags.writeable = False
    view = navigation_view(vectors, metric, tmp_path)
    assert view.array.ctypes.data == vectors.ctypes.data
    assert not vectors.flags.writeable
    address = vectors.ctypes.data
    del vectors
    assert view.owner.ctypes.data == address, "the view keeps the memory alive"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gap=st.integers(1, 5), byte=st.integers(0, 3))
def test_rows_with_gaps_or_at_odd_addresses_are_read_right(
    dtype: np.dtype[Any], gap: int, byte: int, tmp_path: Path
) -> None:
    """As memory-mapped files of other layouts have them."""
    vectors = sample(dtype)
    spaced = np.zeros((len(vectors), vectors.shape[1] + gap), dtype)
    spaced[:, :-gap] = vectors
    shifted = np.zeros(vectors.nbytes + 4, np.uint8)[byte : byte + vectors.nbytes]
    shifted[:] = vectors.view(np.uint8).ravel()
    for given_array in (spaced[:, :-gap], shifted.view(dtype).reshape(vectors.shape), vectors[::-1]):
        view = navigation_view(given_array, Metric.L2, tmp_path)
        assert view.array.flags.aligned
        assert view.array.flags.c_contiguous
        assert view.array == pytest.approx(navigation_vectors(np.array(given_array), Metric.L2))


def test_vectors_of_any_length_have_unit_length_under_cosine(tmp_path: Path) -> None:
    vectors = np.array([[3e-20, 4e-20], [3e18, 4e18], [-3, 4], [1e-30, 0]], np.float32)
    view = navigation_view(vectors, Metric.COSINE, tmp_path)
    assert view.array == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8], [-0.6, 0.8], [1, 0]]), rel=1e-6)
