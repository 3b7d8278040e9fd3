"""Products and distances of two rows, for building: float32 sums of any mixture of uint8 and float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from pageann.jit import FAST, kernel

__all__ = ["dot", "squared_distance"]


@kernel(fastmath=FAST)
def dot(row: np.ndarray, direction: np.ndarray) -> Any:
    """Inner product of two rows (dim,); ``direction`` is float32."""
    total = np.float32(0)
    for i in range(direction.shape[0]):
        total += np.float32(row[i]) * direction[i]
    return total


@kernel(fastmath=FAST)
def squared_distance(row: np.ndarray, other: np.ndarray) -> Any:
    """Squared Euclidean distance of two rows (dim,)."""
    total = np.float32(0)
    for i in range(row.shape[0]):
        step = np.float32(row[i]) - np.float32(other[i])
        total += step * step
    return total
