"""Open anything that holds vectors: a path, an array, Arrow data, an iterator of blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pageann.datasets.base import MAX_DIM, ArraySource, IdValues, VectorSource, block_rows_for
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
    "open_file",
    "open_vectors",
]

_PLAIN: dict[str, Callable[[Path], VectorSource]] = {
    ".npy": open_npy,
    **dict.fromkeys(BIN_DTYPES, open_bin),
    **dict.fromkeys(VECS_DTYPES, open_vecs),
}
SUFFIXES: tuple[str, ...] = tuple(_PLAIN)
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
    protocol or ``__array__``, nested lists of floats, or an iterator of blocks, which needs ``rows``
    and ``dim`` and is read once. Elsewhere ``rows`` and ``dim`` are optional and must agree with the
    input; a flat buffer is cut into rows of ``dim``.

    float64 is converted to float32, block by block; a value that is not finite there is refused
    with its row. Raises InvalidArgument for a missing file, an unknown suffix or another type,
    InvalidData for a file that is damaged, empty or at odds with its own header.
    """
    if isinstance(vectors, VectorSource):
        source = vectors
    else:
        source = supported(_opened(vectors, dim, rows, column, id_column, dataset))
    _require_stated(source, "rows", source.rows, rows)
    _require_stated(source, "dim", source.dim, dim)
    return source


def _require_stated(source: VectorSource, option: str, found: int, stated: int | None) -> None:
    if stated is not None and stated != found:
        raise InvalidArgument(f"{source.name}: {option}={stated} was stated, but the input has {found:,}")


def _opened(
    vectors: Any,
    dim: int | None,
    rows: int | None,
    column: str | None,
    id_column: str | None,
    dataset: str | None,
) -> VectorSource:
    if isinstance(vectors, (str, os.PathLike)):
        return open_file(Path(vectors), column=column, id_column=id_column, dataset=dataset)
    if isinstance(vectors, Iterator):
        return open_blocks(vectors, rows, dim)
    return open_array(vectors, dim)


def open_file(
    path: Path, *, column: str | None = None, id_column: str | None = None, dataset: str | None = None
) -> VectorSource:
    """Open a file of any two-dimensional numbers (truth files too) by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in _PLAIN:
        raise InvalidArgument(f"{path}: unknown suffix {suffix!r}; use one of {' '.join(SUFFIXES)}")
    return _PLAIN[suffix](path)
