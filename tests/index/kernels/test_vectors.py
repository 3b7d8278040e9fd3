"""Products and distances that a builder compares are those of NumPy, for uint8 and float32 alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.index.kernels.vectors import dot, squared_distance
from tests.reference.vector_sets import SEEDS, continuous, whole_numbers


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 300))
def test_float_rows(seed: int, dim: int) -> None:
    row, other = continuous(seed, 2, dim)
    wide, second = row.astype(np.float64), other.astype(np.float64)
    scale = float(np.abs(wide) @ np.abs(second)) + float(wide @ wide + second @ second)
    assert dot(row, other) == pytest.approx(float(wide @ second), abs=1e-6 * scale)
    assert squared_distance(row, other) == pytest.approx(float(((wide - second) ** 2).sum()), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 200), st.sampled_from([np.uint8, np.float32]))
def test_whole_numbers_are_summed_exactly(seed: int, dim: int, dtype: Any) -> None:
    row, other = whole_numbers(seed, 2, dim, dtype, values=256)
    wide, second = row.astype(np.int64), other.astype(np.int64)
    assert dot(row, other.astype(np.float32)) == wide @ second
    assert squared_distance(row, other) == ((wide - second) ** 2).sum()
