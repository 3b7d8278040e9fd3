"""Build for queries that come from elsewhere than the vectors do.

A sample of them, with its exact neighbours, decides three things beside calibration. Codes: a query q
near x differs from it by some offset b that such queries share (text to picture; the modality gap), so
an estimate by the code x' of x errs by 2 <q - x, x - x'>, of which 2 <b, x - x'> is known when x is coded
and goes into the constant of its code. The margin that ends a search: what is left of the error has the
variance that the sample shows. And pins: pages near the sample's neighbours are worth more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.calibration import CALIBRATED_KS, Sample
from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.heldout import nearest_rows
from pageann.index.search.query_log import spread_queries
from pageann.storage.checksum import crc32c
from pageann.types import Metric

__all__ = ["QueryOffset", "QuerySample", "SolvedSample", "check_sample", "with_truth"]

_MOST_QUERIES = 2000
_OFFSET_RANKS = 10
"""Nearest rows of a query that its offset is measured to."""
_MOST_PAIRS = 4096
_VISITED_RANKS = 30
"""Nearest rows of a query whose pages a search for ten of them looks at, about."""


@dataclass(frozen=True, slots=True)
class QuerySample:
    """Checked queries, before their neighbours are known."""

    queries: npt.NDArray[np.float32]
    integral: bool

    def to_json(self) -> dict[str, int]:
        """What tells this sample from another; part of the options of a build."""
        return {"count": len(self.queries), "crc": crc32c(self.queries)}


@dataclass(frozen=True, slots=True)
class QueryOffset:
    """How queries lie to the rows near them, in navigation space."""

    offset: npt.NDArray[np.float32]
    """(dim,): mean of q - x, or of q where vectors are ranked by inner product."""
    rows: npt.NDArray[np.int64]
    """(m,): rows near queries."""
    gaps: npt.NDArray[np.float32]
    """(m, dim): what is left of each q - x, or q."""
    square: float
    """Mean of |q - x|^2, or of |q|^2."""


@dataclass(frozen=True, slots=True)
class SolvedSample:
    """Queries with their nearest rows, ascending: ``rows`` (q, k), ``distances`` (q, k)."""

    sample: QuerySample
    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]

    def for_calibration(self) -> Sample:
        """As calibration takes it: no row is left out of an answer."""
        queries = self.sample.queries
        return Sample(np.full(len(queries), -1, np.int64), queries, self.sample.integral, self.distances)

    def visited_rows(self) -> npt.NDArray[np.int64]:
        """(q, r): rows on whose pages searches will look."""
        return self.rows[:, :_VISITED_RANKS]

    def offset_to(self, vectors: npt.NDArray[Any], metric: Metric) -> QueryOffset:
        """Measure the offset; ``vectors`` (n, dim) as given."""
        near = self.rows[:, :_OFFSET_RANKS]
        numbers = np.repeat(np.arange(len(near)), near.shape[1])
        rows = near.ravel()
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_PAIRS)).astype(np.int64))
        queries = _scaled(self.sample.queries[numbers[chosen]], metric)
        gaps = queries if metric is Metric.IP else queries - _scaled(vectors[rows[chosen]], metric)
        offset = gaps.mean(axis=0, dtype=np.float64).astype(np.float32)
        square = float(np.einsum("ij,ij->", gaps, gaps, dtype=np.float64) / len(gaps))
        return QueryOffset(offset, rows[chosen], gaps - offset, square)


def _scaled(block: npt.NDArray[Any], metric: Metric) -> npt.NDArray[np.float32]:
    wide = np.asarray(block, np.float32)
    if metric is not Metric.COSINE:
        return wide
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def check_sample(queries: Any, dim: int, dtype: np.dtype[Any], metric: Metric) -> QuerySample:
    """At most 2,000 of ``queries``, spread over all. Raises InvalidArgument."""
    return QuerySample(*spread_queries(queries, dim, dtype, metric, _MOST_QUERIES, "build"))


def with_truth(
    sample: QuerySample, vectors: npt.NDArray[Any], metric: Metric, threads: int, store: Checkpoints
) -> SolvedSample:
    """Find the exact neighbours of the sample, unless an earlier build has."""
    known = store.find("queries")
    if known is None:
        k = min(max(CALIBRATED_KS), len(vectors))
        rows, distances = nearest_rows(vectors, sample.queries, k, metric, threads, store.residency)
        known = store.finish("queries", None, {"rows": rows, "distances": distances})
        store.save_if_due()
    return SolvedSample(sample, known.arrays["rows"], known.arrays["distances"])
