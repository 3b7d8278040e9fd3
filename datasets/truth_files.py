"""Read the files in which data sets keep the true neighbours of their queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array
from pageann.datasets.files import file_bytes, open_binary
from pageann.datasets.hdf5 import HDF5_SUFFIXES, split_dataset
from pageann.datasets.source import open_file
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["read_truth_ids"]

_NEIGHBOURS_DATASET = "neighbors"


def read_truth_ids(
    path: str | Path, *, rows: int | None = None, dataset: str | None = None
) -> npt.NDArray[np.int64]:
    """Row numbers of the true neighbours, ``(q, k)``, nearest first; -1 pads.

    Reads .npy, .ivecs, .ibin (with or without the distances that big-ann puts behind the ids) and
    HDF5 (dataset ``neighbors`` by default). Raises InvalidData, naming the row, for an id that is no
    row of a base of ``rows`` vectors, InvalidArgument for a file that holds no integers.
    """
    values = _read(Path(path), dataset)
    if values.dtype.kind not in "iu":
        raise InvalidArgument(f"{path}: holds {values.dtype}; a truth file holds integer row numbers")
    ids = values.astype(np.int64)
    upper = np.iinfo(np.int64).max if rows is None else rows
    wrong = np.argwhere((ids < -1) | (ids >= upper))
    if len(wrong):
        row, place = (int(number) for number in wrong[0])
        base = "a base" if rows is None else f"a base of {rows:,}"
        raise InvalidData(
            f"{path}: row {row:,} names neighbour {ids[row, place]}, which is no row of {base}; "
            "use the truth made for these vectors"
        )
    return ids


def _read(path: Path, dataset: str | None) -> Array:
    if path.suffix.lower() == ".ibin":
        found = _with_distances(path)
        if found is not None:
            return found
    file, named = split_dataset(path)
    if file.suffix.lower() in HDF5_SUFFIXES:
        source = open_file(file, dataset=dataset or named or _NEIGHBOURS_DATASET)
    else:
        source = open_file(path, dataset=dataset)
    return next(source.blocks(source.rows))[1]


def _with_distances(path: Path) -> Array | None:
    """The ids of a file of n x k ids followed by as many distances; None for another size."""
    size = file_bytes(path)
    with open_binary(path) as file:
        header = np.fromfile(file, "<u4", 2)
        if len(header) < 2:
            return None
        count, k = (int(value) for value in header)
        if size != 8 + 8 * count * k or not count * k:
            return None
        return np.fromfile(file, "<u4", count * k).reshape(count, k)
