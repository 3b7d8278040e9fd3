"""Queries that a user gives to learn from: checked, and as many of them as are worth the time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.validate import check_queries
from pageann.errors import InvalidArgument
from pageann.storage.manifest import SegmentEntry
from pageann.types import Metric

__all__ = ["FEWEST_QUERIES", "checked_log", "spread_queries"]

FEWEST_QUERIES = 50
"""Fewer know a recall near 0.95 to no better than 0.03, and the pages that matter hardly at all."""


def checked_log(
    queries: Any, entry: SegmentEntry, most: int, purpose: str
) -> tuple[npt.NDArray[np.float32], bool]:
    """(queries float32 (q, dim), whether all are whole numbers): at most ``most``, spread over all.

    Raises InvalidArgument, also for fewer than :data:`FEWEST_QUERIES`.
    """
    metric = Metric.parse(entry.metric)
    return spread_queries(queries, entry.dim, np.dtype(entry.dtype), metric, most, purpose)


def spread_queries(
    queries: Any, dim: int, dtype: np.dtype[Any], metric: Metric, most: int, purpose: str
) -> tuple[npt.NDArray[np.float32], bool]:
    """The same for vectors (n, ``dim``) of ``dtype`` that are not indexed yet."""
    given = np.asarray(queries)
    if given.ndim == 2 and len(given) > most:
        given = given[np.linspace(0, len(given) - 1, most).astype(np.int64)]
    checked = check_queries(given, dim, dtype, metric)
    if len(checked[0]) < FEWEST_QUERIES:
        raise InvalidArgument(
            f"queries: {len(checked[0])} are too few to {purpose} by; "
            f"give at least {FEWEST_QUERIES}, better 1,000"
        )
    return checked
