"""Rewrite a file of vectors, or of neighbour ids, in another format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array, VectorSource, block_rows_for
from pageann.datasets.columnar import ARROW_SUFFIXES
from pageann.datasets.source import open_file
from pageann.datasets.writers import write_vectors
from pageann.errors import InvalidArgument

__all__ = ["Converted", "convert"]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    rows: int
    dim: int
    dtype: str
    """Of the input."""
    ids_kept: bool
    ids_dropped: bool


def convert(
    source_path: str | Path,
    target_path: str | Path,
    *,
    dtype: npt.DTypeLike | None = None,
    rows: int | None = None,
    column: str | None = None,
    id_column: str | None = None,
    dataset: str | None = None,
) -> Converted:
    """Write the vectors of one file to another, whose suffix names its format.

    ``rows`` takes the first ones only. Ids go along where both formats have a place for them. Every value
    must survive; see :func:`pageann.datasets.writers.write_vectors` for that and for what is raised.
    """
    target = Path(target_path)
    source = open_file(Path(source_path), column=column, id_column=id_column, dataset=dataset)
    if target.exists() and target.samefile(str(source_path)):
        raise InvalidArgument(f"{target}: is the input itself; name another file")
    count = source.rows if rows is None else rows
    if not 1 <= count <= source.rows:
        raise InvalidArgument(f"rows={rows}: {source.name} has {source.rows:,}")
    wanted = None if dtype is None else _dtype(dtype)
    ids = source.ids
    keep = ids is not None and target.suffix.lower() in ARROW_SUFFIXES
    kept = ids[:count] if ids is not None and keep else None
    write_vectors(target, _first(source, count), count, source.dim, wanted, ids=kept)
    return Converted(count, source.dim, source.dtype.name, keep, ids is not None and not keep)


def _dtype(name: npt.DTypeLike) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        raise InvalidArgument(f"dtype={name}: is no element type; write it like float32 or uint8") from None


def _first(source: VectorSource, rows: int) -> Iterator[Array]:
    for start, block in source.blocks(block_rows_for(source.dim, source.dtype.itemsize)):
        if start >= rows:
            return
        yield block[: rows - start]
