"""Navigation space in NumPy: where vectors and queries lie, how they are scored, what codes stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.index.kernels.state import Resident
from pageann.types import Metric
from tests.reference.code_twin import WORDS, Codebook

Doubles = NDArray[np.float64]


def navigation_vectors(vectors: NDArray[Any], metric: Metric) -> Doubles:
    """Unit length under cosine; int8 shifted by 128 under l2 and ip."""
    wide = vectors.astype(np.float64)
    if metric is Metric.COSINE:
        return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
    return wide + 128 if vectors.dtype == np.int8 else wide


def navigation_query(query: NDArray[Any], stored: np.dtype[Any], metric: Metric) -> Doubles:
    """The query that goes with :func:`navigation_vectors`; not shifted under ip."""
    wide = query.astype(np.float64)
    if metric is Metric.COSINE:
        return np.asarray(wide / np.linalg.norm(wide))
    return wide + 128 if stored == np.int8 and metric is Metric.L2 else wide


def score(query: Doubles, points: Doubles, metric: Metric) -> Doubles:
    """Squared distances, or minus twice the products under ip."""
    if metric is Metric.IP:
        return np.asarray(-2 * points @ query)
    return np.asarray(((points - query) ** 2).sum(axis=1))


def stored_codebook(resident: Resident, prefix: str) -> Codebook:
    """The codebook called ``router``, ``code`` or ``rep`` of an open segment."""
    starts, words = getattr(resident, f"{prefix}_starts"), getattr(resident, f"{prefix}_words")
    bounds = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    return Codebook([words[WORDS * a : WORDS * b].reshape(WORDS, b - a) for a, b in bounds])


def stored_rotation(resident: Resident, prefix: str, dim: int) -> Doubles:
    """The matrix in front of that codebook."""
    rotation = getattr(resident, f"{prefix}_rotation")
    if not rotation.size:
        return np.eye(dim)
    return np.asarray(rotation.astype(np.float64) * getattr(resident, f"{prefix}_scale"))
