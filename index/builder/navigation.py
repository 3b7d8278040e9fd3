"""The vectors as the builder compares them: one array of uint8 or float32 under squared distance.

uint8 and float32 under l2 and ip are used where they lie. int8 is shifted to uint8, float16 widened,
and under cosine rows are brought to unit length; those copies are files in the build's scratch
folder, mapped.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.residency import Residency, reserve_file
from pageann.storage.files import storage_errors
from pageann.types import Metric

__all__ = ["INT8_SHIFT", "Navigation", "navigation_view"]

INT8_SHIFT = 128
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Navigation:
    """``array`` (n, dim) uint8 or float32; ``owner`` keeps its memory alive."""

    array: npt.NDArray[Any]
    owner: Any
    shift: int
    """What was added to every element: 128 for int8, else 0."""

    def take(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The given rows, float32."""
        return np.asarray(self.array[rows], np.float32)


def _plain_view(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as a writable-looking array, so that kernels compile for one array type only."""
    if array.flags.writeable:
        return array
    size = array.size * array.itemsize
    memory: Any = (ctypes.c_uint8 * size).from_address(array.ctypes.data)
    return np.asarray(np.frombuffer(memory, dtype=array.dtype).reshape(array.shape))


def _convert(
    vectors: npt.NDArray[Any],
    dtype: type,
    convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    scratch: Path,
    residency: Residency | None,
) -> Navigation:
    """A converted copy in a nameless file of the scratch folder."""
    path = scratch / "navigation"
    rows, dim = vectors.shape
    reserve_file(path, rows * dim * np.dtype(dtype).itemsize)
    with storage_errors("write", path):
        copy = np.memmap(path, dtype=dtype, mode="r+", shape=(rows, dim))
        if residency is not None:
            residency.watch(copy)
        step = max(1, _BLOCK_BYTES // (dim * 4))
        for first in range(0, rows, step):
            copy[first : first + step] = convert(np.asarray(vectors[first : first + step]))
            if residency is not None:
                residency.check()
        path.unlink()
    return Navigation(_plain_view(np.asarray(copy)), copy, 0)


def _unit_length(block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    wide = block.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return np.asarray((wide / lengths[:, None]).astype(np.float32))


def navigation_view(
    vectors: npt.NDArray[Any], metric: Metric, scratch: Path, residency: Residency | None = None
) -> Navigation:
    """``vectors`` (n, dim) as the builder compares them; copies only what it must convert."""
    if metric is Metric.COSINE:
        return _convert(vectors, np.float32, _unit_length, scratch, residency)
    if vectors.dtype == np.int8:
        shifted = _convert(vectors, np.uint8, lambda b: b.view(np.uint8) ^ np.uint8(0x80), scratch, residency)
        return Navigation(shifted.array, shifted.owner, INT8_SHIFT)
    if vectors.dtype == np.float16:
        return _convert(vectors, np.float32, lambda b: b.astype(np.float32), scratch, residency)
    if not vectors.flags.c_contiguous or not vectors.flags.aligned:
        return _convert(vectors, vectors.dtype.type, lambda b: b, scratch, residency)
    plain = np.asarray(vectors)
    return Navigation(_plain_view(plain), plain, 0)
