"""Small sets of vectors from a seed, for twins and builders."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SEEDS = st.integers(0, 2**32 - 1)
"""A failing example prints its seed."""


def continuous(seed: int, rows: int, dim: int) -> NDArray[np.float32]:
    """Normal float32 (rows, dim): no two values tie."""
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def whole_numbers(seed: int, rows: int, dim: int, dtype: Any = np.uint8, values: int = 16) -> NDArray[Any]:
    """Small whole numbers (rows, dim): sums are exact in any precision and order, and values tie often."""
    return np.random.default_rng(seed).integers(0, values, (rows, dim)).astype(dtype)


def permutation(seed: int, count: int) -> NDArray[np.int32]:
    """The numbers below ``count`` in any order, int32."""
    return np.random.default_rng(seed).permutation(count).astype(np.int32)


def inverse(order: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where each number stands in ``order``."""
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places
