"""NumPy's .npy files, read from the header alone: nothing is ever unpickled."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pageann.datasets.base import Array, SpooledSource, VectorSource
from pageann.datasets.files import file_bytes, open_binary, require_file_bytes
from pageann.datasets.records import RecordLayout, RecordSource
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["NpyHeader", "open_npy", "read_npy_header"]

_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a .npy file says of itself; its size was checked against this."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset_bytes: int


def read_npy_header(path: Path) -> NpyHeader:
    """Read and check the header of a .npy file (versions 1 to 3).

    Raises InvalidData for a wrong magic, a damaged header, Python objects or a size that disagrees.
    """
    size = file_bytes(path)
    with open_binary(path) as file:
        start = file.read(12)
        if start[:6] != _MAGIC:
            raise InvalidData(f"{path}: does not start like a .npy file; write it with numpy.save")
        version = start[6] if len(start) == 12 else 0
        if version not in (1, 2, 3):
            raise InvalidData(f"{path}: .npy version {version} is unknown; write the file with numpy.save")
        length_bytes = 2 if version == 1 else 4
        header_bytes = int.from_bytes(start[8 : 8 + length_bytes], "little")
        if header_bytes > _HEADER_LIMIT_BYTES:
            raise InvalidData(f"{path}: a .npy header of {header_bytes:,} bytes; the file is damaged")
        offset_bytes = 8 + length_bytes + header_bytes
        file.seek(8 + length_bytes)
        text = file.read(header_bytes)
    header = _parsed(path, text, "utf-8" if version == 3 else "latin-1", offset_bytes)
    words = " x ".join(f"{length:,}" for length in header.shape) or "one"
    data_bytes = math.prod(header.shape) * header.dtype.itemsize
    require_file_bytes(path, size, offset_bytes + data_bytes, f"{words} {header.dtype.name}, with its header")
    return header


def _parsed(path: Path, text: bytes, encoding: str, offset_bytes: int) -> NpyHeader:
    try:
        fields = ast.literal_eval(text.decode(encoding).strip())
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
        shape = tuple(fields["shape"])
        fortran_order = bool(fields["fortran_order"])
        if not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError):
        raise InvalidData(f"{path}: the .npy header cannot be read; the file is damaged") from None
    if dtype.hasobject:
        raise InvalidData(
            f"{path}: holds pickled Python objects, which are never loaded; save a numeric array instead"
        )
    return NpyHeader(shape, dtype, fortran_order, offset_bytes)


def open_npy(path: Path) -> VectorSource:
    """Open a two-dimensional .npy file; Fortran order is read by columns and spooled when mapped."""
    header = read_npy_header(path)
    if len(header.shape) != 2:
        raise InvalidArgument(f"{path}: has shape {header.shape}; vectors need two dimensions (rows, dim)")
    rows, dim = header.shape
    if header.fortran_order and rows > 1 and dim > 1:
        return _FortranSource(path, header)
    return RecordSource(path, rows, dim, header.dtype, RecordLayout(header.offset_bytes))


class _FortranSource(SpooledSource):
    """A .npy file stored column by column."""

    def __init__(self, path: Path, header: NpyHeader) -> None:
        super().__init__(str(path), header.shape[0], header.shape[1], header.dtype)
        self._path = path
        self._offset_bytes = header.offset_bytes

    def _read(self, block_rows: int) -> Iterator[Array]:
        with open_binary(self._path) as file:
            columns = np.memmap(
                file, dtype=self.dtype, mode="r", offset=self._offset_bytes, shape=(self.dim, self.rows)
            )
        for start in range(0, self.rows, block_rows):
            yield np.ascontiguousarray(columns[:, start : start + block_rows].T)
