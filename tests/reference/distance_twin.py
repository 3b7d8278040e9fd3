"""Exact distances in NumPy: integers in int64, everything else in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.types import Metric


def distance(vector: NDArray[Any], query: NDArray[Any], metric: Metric) -> float:
    """The distance of two vectors."""
    whole = vector.dtype.kind in "iu" and query.dtype.kind in "iu"
    x, q = (part.astype(np.int64 if whole else np.float64) for part in (vector, query))
    if metric is Metric.L2:
        return float(((x - q) ** 2).sum())
    if metric is Metric.IP:
        return -float((x * q).sum())
    return 1.0 - float((x * q).sum()) / float(np.sqrt(float((q * q).sum()))) / float(
        np.sqrt(float((x * x).sum()))
    )
