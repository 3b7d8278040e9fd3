"""Refuse, with the row named, what cannot be indexed or asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array, VectorSource, block_rows_for
from pageann.datasets.ids import check_ids, read_ids
from pageann.datasets.memory import open_array
from pageann.errors import InvalidArgument, InvalidData
from pageann.types import Metric

__all__ = ["MAX_NORM", "check_block", "check_ids", "check_queries", "check_vectors", "read_ids"]

MAX_NORM = 9e18
"""Longest vector whose squared distance to another one, at most (2 * norm)^2, is a finite float32."""
_MIN_SQUARED_NORM = float(np.finfo(np.float32).tiny)
_EXACT_INTEGER = 1 << 24  # the integers up to here are float32 values


def check_vectors(
    vectors: VectorSource | Array,
    metric: Metric,
    *,
    block_rows: int | None = None,
    name: str | None = None,
) -> None:
    """Read all vectors once, in blocks, and refuse the first row that cannot be indexed.

    ``vectors`` is a source or an array of a supported type. Raises InvalidData, naming the input
    (``name`` where given) and the row: NaN, infinity, a norm above 9e18, and under cosine a vector of
    norm zero.
    """
    source = vectors if isinstance(vectors, VectorSource) else open_array(vectors, None)
    if block_rows is None:
        block_rows = block_rows_for(source.dim)
    for start, block in source.blocks(block_rows):
        check_block(block, metric, start, name or source.name)


def check_block(block: Array, metric: Metric, first_row: int, name: str) -> None:
    """:func:`check_vectors` for one ``(rows, dim)`` block that starts at row ``first_row``."""
    bad = _first_bad_row(block, metric)
    if bad is not None:
        row, reason = bad
        raise InvalidData(f"{name}: row {first_row + row:,} {reason}")


def _first_bad_row(block: Array, metric: Metric) -> tuple[int, str] | None:
    """The first row that cannot be served and what to say of it."""
    if block.dtype.kind in "iu":
        if metric is not Metric.COSINE:
            return None
        return _first(
            np.asarray(~block.any(axis=1)), "is all zeros, which has no direction: remove it or use l2"
        )
    squared_norms = _squared_norms(block)
    usable = squared_norms <= MAX_NORM**2  # False for NaN
    if metric is Metric.COSINE:
        usable &= squared_norms >= _MIN_SQUARED_NORM
    wrong = np.flatnonzero(~usable)
    if not wrong.size:
        return None
    row = int(wrong[0])
    return row, _reason(block[row], float(squared_norms[row]))


def _squared_norms(block: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        if len(block) == 1 and block.dtype == np.float32:  # one query, as often: the short way
            return np.array([np.dot(block[0], block[0])])
        wide = block.astype(np.float32, copy=False)
        return np.asarray(np.einsum("ij,ij->i", wide, wide))


def _first(mask: Array, reason: str) -> tuple[int, str] | None:
    wrong = np.flatnonzero(mask)
    return (int(wrong[0]), reason) if wrong.size else None


def _reason(vector: Array, squared_norm: float) -> str:
    if np.isnan(vector).any():
        return "holds NaN: remove or repair it"
    if np.isinf(vector).any():
        if vector.dtype == np.float16:
            return "holds an infinity (float16 ends at 65,504): remove it or store the vectors as float32"
        return "holds an infinity: remove or repair it"
    if squared_norm > 1:
        return f"has a norm above {MAX_NORM:g}, whose distances are no finite float32: scale the vectors"
    return "is zero or nearly (norm below 1.1e-19), which has no direction: remove it or use l2"


def check_queries(
    queries: Any, dim: int, dtype: npt.DTypeLike, metric: Metric = Metric.L2
) -> tuple[npt.NDArray[np.float32], bool]:
    """``(queries, is_integral)``: a C-contiguous float32 array ``(q, dim)`` for an index of ``dtype``.

    One query may be passed as ``(dim,)``; no query at all, ``(0, dim)``, is fine. ``is_integral``
    says that the index holds integers and that every query value is one of its type, so that integer
    arithmetic gives the same distances. float64 loses precision beyond 24 bits; integers beyond 2^24
    are refused. Raises InvalidArgument, naming the query, also for another dim, NaN, infinity,
    overlong vectors and, under cosine, zero vectors.
    """
    given = _query_array(queries, dim)
    if given.dtype.kind in "iu" and given.dtype.itemsize > 2:
        _require_exact_integers(given)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype=np.float32)
    of_bytes = given.dtype.itemsize == 1
    bad = None if of_bytes and metric is not Metric.COSINE else _first_bad_row(values, metric)
    if bad is not None:
        row, reason = bad
        raise InvalidArgument(f"queries: row {row:,} {reason}")
    stored = np.dtype(dtype)
    return values, (of_bytes and given.dtype == stored) or _is_integral(values, stored)


def _query_array(queries: Any, dim: int) -> Array:
    try:
        array = np.asarray(queries)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"queries: cannot be read as an array of numbers: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidArgument(f"queries: values of type {array.dtype} are not numbers; pass float32")
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2 or array.shape[1] != dim:
        raise InvalidArgument(f"queries: have shape {array.shape}; this index takes (q, {dim})")
    return array


def _require_exact_integers(array: Array) -> None:
    wrong = np.flatnonzero(((array > _EXACT_INTEGER) | (array < -_EXACT_INTEGER)).any(axis=1))
    if wrong.size:
        raise InvalidArgument(
            f"queries: row {int(wrong[0]):,} holds an integer beyond 2^24; scale the vectors"
        )


def _is_integral(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype)
    in_range = (values >= limits.min) & (values <= limits.max)
    return bool((in_range & (values == np.rint(values))).all())
