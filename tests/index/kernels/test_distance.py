"""Every returned distance is exact: computed from the stored bytes, whatever their type, as NumPy does.

Integers must come out to the last digit even where a float32 sum would not; float16 must widen to
the same value for each of its 65,536 patterns, by instruction and by arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.distance import (
    exact_value,
    half_by_arithmetic,
    half_to_float,
    scalar_quantised_value,
)
from pageann.types import DTYPES, Metric, dtype_code
from tests.reference.distance_twin import distance
from tests.reference.vector_sets import SEEDS, continuous

DIMS = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100, 257])


def draw(random: np.random.Generator, dtype: np.dtype[Any], dim: int) -> NDArray[Any]:
    if dtype.kind == "f":
        return (random.standard_normal(dim) * 3).astype(dtype)
    limits = np.iinfo(dtype)
    vector = random.integers(limits.min, limits.max + 1, dim).astype(dtype)
    vector[random.integers(dim)] = limits.max  # never all zero
    return vector


def computed(
    vector: NDArray[Any], query: NDArray[Any], metric: Metric, integral: bool, shift: int = 0
) -> float:
    stored = np.empty(vector.nbytes + shift, np.uint8)
    stored[shift:] = vector.view(np.uint8)
    wide = query.astype(np.float64)
    inverse_norm = 1.0 / np.sqrt(wide @ wide) if wide.any() else 0.0
    value = exact_value(
        stored.ctypes.data + shift, len(vector), dtype_code(vector.dtype), int(metric), integral, wide,
        query.astype(np.int32) if integral else np.zeros(len(query), np.int32), inverse_norm,
    )  # fmt: skip
    return float(value)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, dim=DIMS)
def test_floating_queries(dtype: np.dtype[Any], metric: Metric, seed: int, dim: int) -> None:
    random = np.random.default_rng(seed)
    vector = draw(random, dtype, dim)
    query = draw(random, np.dtype(np.float32), dim)
    expected = distance(vector, query, metric)
    size = float(np.abs(vector.astype(np.float64)) @ np.abs(query.astype(np.float64))) + abs(expected)
    tolerance = 1e-13 * size if metric is not Metric.COSINE else 1e-13
    assert computed(vector, query, metric, False) == pytest.approx(expected, rel=1e-12, abs=tolerance)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, dim=DIMS, shift=st.integers(0, 3))
def test_whole_numbers_are_exact_at_any_address(
    dtype: type, metric: Metric, seed: int, dim: int, shift: int
) -> None:
    random = np.random.default_rng(seed)
    vector, query = draw(random, np.dtype(dtype), dim), draw(random, np.dtype(dtype), dim)
    expected = distance(vector, query, metric)
    found = computed(vector, query, metric, True, shift)
    if metric is Metric.COSINE:
        assert found == pytest.approx(expected, abs=1e-14)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("vector", "query"),
    [(np.uint8(255), np.uint8(0)), (np.uint8(255), np.uint8(255)), (np.int8(-128), np.int8(127)),
     (np.int8(-128), np.int8(-128))],
)  # fmt: skip
@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP])
def test_the_longest_vectors_of_extremes_do_not_overflow(vector: Any, query: Any, metric: Metric) -> None:
    stored, asked = np.full(8192, vector), np.full(8192, query)
    assert computed(stored, asked, metric, True) == distance(stored, asked, metric)


def test_float32_that_only_double_precision_tells_apart() -> None:
    query = np.zeros(2, np.float32)
    near = np.array([4096.0, 0.25], np.float32)
    far = np.array([4096.0, 0.5], np.float32)
    gap = computed(far, query, Metric.L2, False) - computed(near, query, Metric.L2, False)
    assert gap == 0.25 - 0.0625


@pytest.mark.parametrize("widen", [half_to_float, half_by_arithmetic])
def test_every_half_precision_number_widens_to_its_value(widen: Any) -> None:
    bits = np.arange(65_536, dtype=np.uint16)
    found = np.array([widen(pattern) for pattern in bits], np.float32)
    expected = bits.view(np.float16).astype(np.float32)
    numbers = ~np.isnan(expected)
    assert (found[numbers].view(np.uint32) == expected[numbers].view(np.uint32)).all(), (
        "to the bit, signed zero too"
    )
    assert np.isnan(found[~numbers]).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, DIMS, st.sampled_from(list(Metric)))
def test_quantised_scores(seed: int, dim: int, metric: Metric) -> None:
    """The score of 8-bit codes is that of the vector low + step * code, up to a constant of the query."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, dim).astype(np.uint8)
    query, low = continuous(seed, 2, dim)
    step = random.uniform(0.001, 0.02, dim).astype(np.float32)
    stored = low.astype(np.float64) + step.astype(np.float64) * codes
    wide = query.astype(np.float64)
    if metric is Metric.IP:
        shifted, steps = np.zeros(dim, np.float32), np.float32(-2) * query * step
        expected = -2 * float(wide @ stored) + 2 * float(wide @ low.astype(np.float64))
    else:
        shifted, steps = query - low, step
        expected = float(((wide - stored) ** 2).sum())
    found = scalar_quantised_value(codes.ctypes.data, dim, int(metric), shifted, steps)
    size = float(np.abs(wide) @ np.abs(stored)) + abs(expected) + 1
    assert float(found) == pytest.approx(expected, abs=1e-5 * size)
