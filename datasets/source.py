"""Open anything that holds vectors: a path, an array, Arrow data, an iterator of blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pageann.datasets.base import MAX_DIM, ArraySource, IdValues, VectorSource, block_rows_for, release_pages
from pageann.datasets.columnar import ARROW_SUFFIXES, is_arrow, open_arrow, open_columnar
from pageann.datasets.hdf5 import HDF5_SUFFIXES, open_hdf5, split_dataset
from pageann.datasets.memory import open_array, open_blocks, supported
from pageann.datasets.npy import open_npy
from pageann.datasets.records import BIN_DTYPES, VECS_DTYPES, open_bin, open_vecs
from pageann.errors import InvalidArgument

__all__ = [
    "MAX_DIM",
    "SUFFIXES",
    "ArraySource",
    "IdValues",
    "VectorSource",
    "block_rows_for",
    "open_any",
    "open_file",
    "open_vectors",
    "release_pages",
]

_PLAIN: dict[str, Callable[[Path], VectorSource]] = {
    ".npy": open_npy,
    **dict.fromkeys(BIN_DTYPES, open_bin),
    **dict.fromkeys(VECS_DTYPES, open_vecs),
}
SUFFIXES: tuple[str, ...] = (*_PLAIN, *HDF5_SUFFIXES, *ARROW_SUFFIXES)
"""Suffixes of the files that :func:`open_vectors` reads."""


def open_vectors(
    vectors: Any,
    *,
    dim: int | None = None,
    rows: int | None = None,
    column: str | None = None,
    id_column: str | None = None,
    dataset: str | None = None,
) -> VectorSource:
    """Open vectors of float32, float16, int8 or uint8, whatever holds them.

    ``vectors`` is a path (its suffix names the format), a NumPy array or anything with the buffer
    protocol or ``__array__``, Arrow data, nested lists of floats, or an iterator of blocks, which
    needs ``rows`` and ``dim`` and is read once. Elsewhere ``rows`` and ``dim`` are optional and must
    agree with the input; a flat buffer is cut into rows of ``dim``.

    ``column`` and ``id_column`` name columns of Parquet or Arrow data; by default the only column of
    lists of numbers, and ``id`` where there is one (``id_column=""``: no ids). ``dataset`` names a
    dataset of an HDF5 file (default ``train``); ``file.h5:test`` says the same.

    float64 is converted to float32, block by block; a value that is not finite there is refused
    with its row. Raises InvalidArgument for a missing file, an unknown suffix or another type,
    MissingDependency for a format whose package is not installed, InvalidData for a file that is
    damaged, empty or at odds with its own header.
    """
    if isinstance(vectors, VectorSource):
        source = vectors
    else:
        source = supported(
            open_any(vectors, dim=dim, rows=rows, column=column, id_column=id_column, dataset=dataset)
        )
    _require_stated(source, "rows", source.rows, rows)
    _require_stated(source, "dim", source.dim, dim)
    return source


def _require_stated(source: VectorSource, option: str, found: int, stated: int | None) -> None:
    if stated is not None and stated != found:
        raise InvalidArgument(f"{source.name}: {option}={stated} was stated, but the input has {found:,}")


def open_any(
    vectors: Any,
    *,
    dim: int | None = None,
    rows: int | None = None,
    column: str | None = None,
    id_column: str | None = None,
    dataset: str | None = None,
) -> VectorSource:
    """:func:`open_vectors` for any type of number, unconverted: neighbour ids and distances too."""
    if isinstance(vectors, (str, os.PathLike)):
        return open_file(Path(vectors), column=column, id_column=id_column, dataset=dataset)
    if is_arrow(vectors):
        return open_arrow(vectors, column, id_column)
    if isinstance(vectors, Iterator):
        return open_blocks(vectors, rows, dim)
    return open_array(vectors, dim)


def open_file(
    path: Path, *, column: str | None = None, id_column: str | None = None, dataset: str | None = None
) -> VectorSource:
    """Open a file of any two-dimensional numbers by its suffix; ``file.h5:test`` names a dataset."""
    path, named = split_dataset(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidArgument(f"{path}: unknown suffix {suffix!r}; use one of {' '.join(SUFFIXES)}")
    if suffix not in ARROW_SUFFIXES and (column or id_column):
        option = "column" if column else "id_column"
        raise InvalidArgument(f"{path}: {option}= is for {' '.join(ARROW_SUFFIXES)} files; leave it out")
    if suffix not in HDF5_SUFFIXES and dataset:
        raise InvalidArgument(f"{path}: dataset= is for {' '.join(HDF5_SUFFIXES)} files; leave it out")
    if suffix in HDF5_SUFFIXES:
        return open_hdf5(path, dataset or named)
    if suffix in ARROW_SUFFIXES:
        return open_columnar(path, column, id_column)
    return _PLAIN[suffix](path)
