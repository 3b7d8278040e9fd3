"""Bounded neighbour lists in NumPy: all that arrived, sorted, the first few."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lists = tuple[NDArray[np.int32], NDArray[np.float32]]


def empty_lists(rows: int, width: int) -> Lists:
    """Lists that nothing arrived at."""
    return np.full((rows, width), -1, np.int32), np.full((rows, width), np.inf, np.float32)


def nearest(pairs: Iterable[tuple[int, float]], width: int) -> list[tuple[int, float]]:
    """The first ``width`` of (candidate, distance) by distance, then candidate, each candidate once."""
    return sorted(set(pairs), key=lambda pair: (pair[1], pair[0]))[:width]


def entries(lists: Lists, row: int) -> list[tuple[int, float]]:
    """(candidate, distance) of one row's list."""
    ids, distances = lists
    held = ids[row] >= 0
    assert not held[int(held.sum()) :].any(), "-1 stands behind the last only"
    assert np.isinf(distances[row, ~held]).all()
    return list(zip(ids[row, held].tolist(), distances[row, held].tolist(), strict=True))


def squared_distances(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """All pairs (n, n)."""
    wide = vectors.astype(np.float64)
    return np.asarray(((wide[:, None] - wide[None]) ** 2).sum(axis=2))
