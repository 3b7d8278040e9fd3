"""The energy of a packing, and the best swap of a row, by trying them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pages_of(order: NDArray[np.int32], capacity: int) -> list[NDArray[np.int32]]:
    """The rows of each page."""
    return [order[first : first + capacity] for first in range(0, len(order), capacity)]


def means(vectors: NDArray[Any], order: NDArray[np.int32], capacity: int) -> NDArray[np.float64]:
    """Centroid of each page."""
    return np.stack([vectors[page].astype(np.float64).mean(axis=0) for page in pages_of(order, capacity)])


def energy(vectors: NDArray[Any], order: NDArray[np.int32], capacity: int) -> float:
    """Summed squared distance of vectors to the centroid of their page."""
    centroids = means(vectors, order, capacity)
    pages = pages_of(order, capacity)
    return sum(
        float(((vectors[page].astype(np.float64) - centre) ** 2).sum())
        for page, centre in zip(pages, centroids, strict=True)
    )


def best_gain(
    vectors: NDArray[Any],
    near: NDArray[np.int32],
    order: NDArray[np.int32],
    capacity: int,
    v: int,
    reach: float,
) -> float:
    """Most energy that one swap of row ``v`` with a member of a neighbour's page removes; 0 if none does."""
    place = int(np.flatnonzero(order == v)[0])
    centroids = means(vectors, order, capacity)
    gaps = ((vectors[v].astype(np.float64) - centroids) ** 2).sum(axis=1)
    own = gaps[place // capacity]
    before = energy(vectors, order, capacity)
    best = 0.0
    for w in near[v]:
        if w < 0:
            break
        page = int(np.flatnonzero(order == w)[0]) // capacity
        if page == place // capacity or gaps[page] - own > reach * own:
            continue
        for slot in range(page * capacity, min((page + 1) * capacity, len(order))):
            swapped = order.copy()
            swapped[[place, slot]] = swapped[[slot, place]]
            best = max(best, before - energy(vectors, swapped, capacity))
    return best
