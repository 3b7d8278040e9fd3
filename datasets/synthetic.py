"""Clustered vectors from a seed: like embeddings, without a download.

Clusters have Zipf sizes; inside one, the vectors vary along a few directions of their own, with
decaying strength, plus a little noise along all. Neighbouring clusters overlap, so that a graph over
the vectors has to be searched, not looked up. Queries come from the same process, not from the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import MAX_DIM, Array
from pageann.errors import InvalidArgument
from pageann.types import require_dtype

__all__ = ["ClusterShape", "clustered", "clustered_blocks"]

BLOCK_ROWS = 16_384
"""Rows drawn from one random stream; part of what a seed means."""
_MODEL_STREAM, _BASE_STREAM, _QUERY_STREAM, _OFFSET_STREAM = 0, 1, 2, 3
_CENTRE_SCALE = 0.5  # against 1 for the spread inside a cluster
_NOISE_SCALE = 0.05
_INTEGER_DEVIATION = 36.0  # standard deviation on the integer scale: 3.5 of them fit


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """What decides the vectors, apart from the number of rows."""

    dim: int
    dtype: np.dtype[Any]
    clusters: int
    intrinsic_dim: int
    zipf: float
    seed: int
    norm_sigma: float | None

    def __post_init__(self) -> None:
        _require(1 <= self.dim <= MAX_DIM, f"dim={self.dim}: 1 to {MAX_DIM} are supported")
        _require(self.clusters >= 1, f"clusters={self.clusters}: at least one is needed")
        _require(self.intrinsic_dim >= 1, f"intrinsic_dim={self.intrinsic_dim}: at least one is needed")
        _require(self.zipf >= 0, f"zipf={self.zipf}: the exponent must not be negative")
        _require(self.seed >= 0, f"seed={self.seed}: must not be negative")
        if self.norm_sigma is not None:
            _require(self.norm_sigma >= 0, f"norm_sigma={self.norm_sigma}: must not be negative")
            _require(
                self.dtype.kind == "f",
                f"norm_sigma={self.norm_sigma}: needs float32 or float16, not {self.dtype}",
            )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidArgument(message)


def clustered(
    rows: int,
    dim: int,
    *,
    dtype: npt.DTypeLike = "float32",
    clusters: int = 256,
    intrinsic_dim: int = 16,
    zipf: float = 0.8,
    queries: int = 100,
    seed: int = 0,
    norm_sigma: float | None = None,
    query_offset: float = 0.0,
) -> tuple[Array, Array]:
    """``(base, queries)``: arrays ``(rows, dim)`` and ``(queries, dim)`` of ``dtype``.

    ``clusters`` have sizes proportional to ``rank ** -zipf`` and ``intrinsic_dim`` directions each.
    Integers use most of their range: uint8 lies around 128, int8 around 0. ``norm_sigma`` (floats
    only) makes the norms log-normal, exp(normal(0, norm_sigma)), for tests of the inner product.

    ``query_offset`` (floats only) moves all queries by one vector of that length, in mean norms of the
    base: out-of-distribution queries, as texts are to pictures (the modality gap of Liang et al., 2022).

    The same arguments give the same bytes with any number of threads, on the same processor type and
    NumPy; the first rows do not depend on how many follow. Memory beyond the result: a few blocks.
    """
    _require(rows >= 1, f"rows={rows}: at least one is needed")
    _require(queries >= 0, f"queries={queries}: must not be negative")
    shape = ClusterShape(dim, require_dtype(dtype), clusters, intrinsic_dim, zipf, seed, norm_sigma)
    base, moved = _filled(shape, rows, _BASE_STREAM), _filled(shape, queries, _QUERY_STREAM)
    if query_offset:
        _require(shape.dtype.kind == "f", f"query_offset={query_offset}: needs float32 or float16")
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, _OFFSET_STREAM))))
        direction = random.standard_normal(dim)
        length = query_offset * np.linalg.norm(base[:BLOCK_ROWS].astype(np.float64), axis=1).mean()
        moved = (moved + direction * (length / np.linalg.norm(direction))).astype(shape.dtype)
    return base, moved


def clustered_blocks(shape: ClusterShape, rows: int) -> Iterator[Array]:
    """The base of :func:`clustered` in blocks of at most 16,384 rows, for files larger than RAM."""
    _require(rows >= 1, f"rows={rows}: at least one is needed")
    return _blocks(shape, rows, _BASE_STREAM)


def _filled(shape: ClusterShape, rows: int, stream: int) -> Array:
    result = np.empty((rows, shape.dim), shape.dtype)
    start = 0
    for block in _blocks(shape, rows, stream):
        result[start : start + len(block)] = block
        start += len(block)
    return result


def _blocks(shape: ClusterShape, rows: int, stream: int) -> Iterator[Array]:
    model = _Model.of(shape)
    for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((shape.seed, stream, number))))
        # always a whole block, so that a prefix does not depend on the number of rows
        yield model.draw(random)[: rows - start]


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Products whose bits do not depend on the number of threads."""
    import threadpoolctl

    limit: AbstractContextManager[Any] = threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    return limit


@dataclass(frozen=True, slots=True)
class _Model:
    """Where the clusters lie and how they spread."""

    shape: ClusterShape
    cumulative: npt.NDArray[np.float64]
    """Share of the vectors in clusters 0..i, ``(clusters,)``."""
    centres: npt.NDArray[np.float32]
    """``(clusters, dim)``."""
    bases: npt.NDArray[np.float32]
    """Directions times strength, ``(clusters, intrinsic_dim, dim)``."""

    @classmethod
    def of(cls, shape: ClusterShape) -> _Model:
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((shape.seed, _MODEL_STREAM))))
        weights = np.arange(1, shape.clusters + 1, dtype=np.float64) ** -shape.zipf
        strengths = np.arange(1, shape.intrinsic_dim + 1, dtype=np.float32) ** np.float32(-0.5)
        strengths /= np.sqrt(np.square(strengths).sum())
        centres = random.standard_normal((shape.clusters, shape.dim), dtype=np.float32)
        bases = random.standard_normal((shape.clusters, shape.intrinsic_dim, shape.dim), dtype=np.float32)
        cumulative = np.cumsum(weights) / weights.sum()
        return cls(shape, cumulative, centres * np.float32(_CENTRE_SCALE), bases * strengths[:, None])

    def draw(self, random: np.random.Generator) -> Array:
        """``(BLOCK_ROWS, dim)`` vectors of the shape's dtype."""
        shape = self.shape
        cluster = np.searchsorted(self.cumulative, random.random(BLOCK_ROWS), side="right")
        cluster = np.minimum(cluster, shape.clusters - 1)
        along = random.standard_normal((BLOCK_ROWS, shape.intrinsic_dim), dtype=np.float32)
        vectors = random.standard_normal((BLOCK_ROWS, shape.dim), dtype=np.float32)
        vectors *= np.float32(_NOISE_SCALE)
        order = np.argsort(cluster, kind="stable")
        bounds = np.searchsorted(cluster[order], np.arange(shape.clusters + 1))
        with _one_blas_thread():
            for number in np.flatnonzero(np.diff(bounds)):
                members = order[bounds[number] : bounds[number + 1]]
                vectors[members] += along[members] @ self.bases[number] + self.centres[number]
        if shape.norm_sigma is not None:
            factors = np.exp(shape.norm_sigma * random.standard_normal(BLOCK_ROWS))
            norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
            vectors *= (factors / norms).astype(np.float32)[:, None]
        return self._as_dtype(vectors)

    def _as_dtype(self, vectors: npt.NDArray[np.float32]) -> Array:
        dtype = self.shape.dtype
        if dtype.kind == "f":
            return vectors.astype(dtype, copy=False)
        deviation = np.sqrt(_CENTRE_SCALE**2 + 1.0 + _NOISE_SCALE**2)
        limits = np.iinfo(dtype)
        middle = (limits.max + limits.min + 1) // 2
        scaled = np.rint(vectors * np.float32(_INTEGER_DEVIATION / deviation)) + np.float32(middle)
        return np.asarray(np.clip(scaled, limits.min, limits.max), dtype)
