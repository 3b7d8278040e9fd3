"""The distances that recall is judged by, and how sure one can be of a recall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pageann.datasets.truth import exact_distances
from pageann.errors import InvalidArgument, UnknownId
from pageann.types import Metric

if TYPE_CHECKING:
    from pageann.api import Index
    from pageann.bench.inputs import BenchInputs

__all__ = ["bootstrap_interval", "true_distances"]

_RESAMPLES = 1000
_BLOCK_QUERIES = 256


def true_distances(index: Index, inputs: BenchInputs, path: str) -> NDArray[np.float64]:
    """Distances (q, k) of the true neighbours, ascending, from the index's own vectors.

    ``path`` is the truth file, for messages.
    """
    queries, truth = inputs.queries, inputs.truth
    if queries.shape[1] != index.dim:
        raise InvalidArgument(
            f"queries have {queries.shape[1]} dimensions, the index {index.path} has {index.dim}"
        )
    metric = Metric.parse(index.metric)
    distances = np.empty(truth.shape, np.float64)
    for first in range(0, len(queries), _BLOCK_QUERIES):
        block = slice(first, first + _BLOCK_QUERIES)
        rows = _vectors(index, truth[block], path)
        for number, query in enumerate(queries[block]):
            distances[first + number] = exact_distances(rows[number], query, metric)
    return np.sort(distances, axis=1)


def _vectors(index: Index, ids: NDArray[Any], path: str) -> NDArray[Any]:
    """(q, k, dim) vectors of ``ids``; each id is fetched once."""
    unique, places = np.unique(ids, return_inverse=True)
    try:
        vectors = index.get(unique)
    except UnknownId as error:
        raise InvalidArgument(f"{path}: {error}; --truth must hold the ids of this index") from None
    return np.asarray(vectors)[places.reshape(ids.shape)]


def bootstrap_interval(
    recalls: NDArray[np.float64], groups: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """The 95 % interval of the mean of ``recalls`` (q,), resampling whole ``groups`` (q,) of queries."""
    group_count = int(groups.max()) + 1
    sums = np.bincount(groups, weights=recalls, minlength=group_count)
    sizes = np.bincount(groups, minlength=group_count)
    generator = np.random.default_rng(seed)
    means = np.empty(_RESAMPLES, np.float64)
    for number in range(_RESAMPLES):
        drawn = generator.integers(0, group_count, group_count)
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
