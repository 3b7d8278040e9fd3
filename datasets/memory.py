"""Vectors that the caller already holds: arrays, buffers, lists, iterators of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pageann.datasets.base import Array, ArraySource, SpooledSource, VectorSource
from pageann.errors import InvalidArgument, InvalidData
from pageann.types import require_dtype

__all__ = ["ConvertedSource", "open_array", "open_blocks", "supported"]


def open_array(vectors: Any, dim: int | None, name: str = "vectors") -> VectorSource:
    """Open an array, a buffer or nested lists; one dimension is cut into rows of ``dim``."""
    if np.ma.is_masked(vectors):
        raise InvalidArgument(f"{name}: a masked array with masked values; fill or drop them first")
    array = _as_array(vectors, name)
    if array.dtype.hasobject or array.dtype.kind not in "fiu":
        raise InvalidArgument(f"{name}: values of type {array.dtype} are not numbers; pass a numeric array")
    if array.ndim == 1 and dim is not None and dim > 0 and array.size % dim == 0:
        array = array.reshape(-1, dim)
    if array.ndim != 2:
        raise InvalidArgument(f"{name}: has shape {array.shape}; vectors need two dimensions (rows, dim)")
    rows_contiguous = array.shape[1] < 2 or array.strides[1] == array.itemsize
    if rows_contiguous and array.flags.aligned:
        return ArraySource(name, array)
    return _StridedSource(name, array)


def _as_array(vectors: Any, name: str) -> Array:
    try:
        if isinstance(vectors, (bytes, bytearray)):
            return np.frombuffer(vectors, np.uint8)
        return np.asarray(vectors)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{name}: cannot be read as an array of numbers: {error}") from None


class _StridedSource(SpooledSource):
    """An array whose rows are scattered in memory (Fortran order, every other column, unaligned)."""

    def __init__(self, name: str, array: Array) -> None:
        super().__init__(name, array.shape[0], array.shape[1], array.dtype)
        self._array = array

    def _read(self, block_rows: int) -> Iterator[Array]:
        for start in range(0, self.rows, block_rows):
            # a copy, since an unaligned slice may be contiguous and pass through unchanged
            yield np.array(self._array[start : start + block_rows], order="C")


class _BlockSource(SpooledSource):
    """An iterator of blocks: read once, unless it was mapped first."""

    def __init__(self, name: str, blocks: Iterable[Any], rows: int, dim: int) -> None:
        self._iterator = iter(blocks)
        first = next(self._iterator, None)
        if first is None:
            raise InvalidData(f"{name}: the iterator gave no block; {rows:,} rows were stated")
        self._first = self._checked(name, first, dim, 0, None)
        self._started = False
        super().__init__(name, rows, dim, self._first.dtype)

    @staticmethod
    def _checked(name: str, block: Any, dim: int, start: int, dtype: np.dtype[Any] | None) -> Array:
        """``block`` as an ``(any, dim)`` array of ``dtype``; the message names its first row, ``start``."""
        array = _as_array(block, f"{name}: block at row {start:,}")
        if array.ndim == 1:
            array = array[None, :]
        if array.ndim != 2 or array.shape[1] != dim:
            raise InvalidData(
                f"{name}: the block at row {start:,} has shape {array.shape}; (rows, {dim}) was stated"
            )
        if dtype is not None and array.dtype != dtype:
            raise InvalidData(
                f"{name}: the block at row {start:,} is {array.dtype}, the first one was {dtype}; convert one"
            )
        return array

    def _read(self, block_rows: int) -> Iterator[Array]:
        if self._started:
            raise InvalidArgument(
                f"{self.name}: an iterator can be read only once; pass a new one, or call mapped() first"
            )
        self._started = True
        start = len(self._first)
        yield self._first
        for block in self._iterator:
            checked = self._checked(self.name, block, self.dim, start, self.dtype)
            start += len(checked)
            yield checked


def open_blocks(
    blocks: Iterable[Any], rows: int | None, dim: int | None, name: str = "vectors"
) -> VectorSource:
    """Open an iterator of ``(any, dim)`` blocks, or of single vectors, with ``rows`` rows in all."""
    if rows is None or dim is None:
        raise InvalidArgument(f"{name}: an iterator of blocks needs its shape stated: pass rows= and dim=")
    return _BlockSource(name, blocks, rows, dim)


class ConvertedSource(SpooledSource):
    """Another source in a supported type: native byte order, and float32 for float64."""

    def __init__(self, inner: VectorSource, dtype: np.dtype[Any]) -> None:
        super().__init__(inner.name, inner.rows, inner.dim, dtype)
        self._inner = inner

    @property
    def ids(self) -> Any:
        return self._inner.ids

    def _read(self, block_rows: int) -> Iterator[Array]:
        for start, block in self._inner.blocks(block_rows):
            with np.errstate(over="ignore"):
                converted = block.astype(self.dtype)
            if block.dtype.itemsize > self.dtype.itemsize:
                self._require_finite(block, converted, start)
            yield converted

    def _require_finite(self, block: Array, converted: Array, start: int) -> None:
        wrong = np.flatnonzero(~np.isfinite(converted).all(axis=1))
        if wrong.size:
            row = int(wrong[0])
            value = block[row][~np.isfinite(converted[row])][0]
            raise InvalidData(
                f"{self.name}: row {start + row:,} holds {value}, which is no finite {self.dtype}; "
                "remove the row or scale the vectors"
            )


def supported(source: VectorSource) -> VectorSource:
    """``source`` itself, or converted: big-endian to native, float64 to float32.

    float64 loses precision beyond 24 bits; a value that is not finite as float32 is refused with its
    row when it is read. Any other type is refused here.
    """
    if source.dtype.newbyteorder("=") == np.float64:
        return ConvertedSource(source, np.dtype(np.float32))
    try:
        native = require_dtype(source.dtype)
    except InvalidArgument as error:
        raise InvalidArgument(f"{source.name}: {error}") from None
    return source if source.dtype == native else ConvertedSource(source, native)
