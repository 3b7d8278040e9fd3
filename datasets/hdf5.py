"""HDF5 files in the layout of ann-benchmarks: two-dimensional datasets, ``train`` by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pageann.datasets.base import Array, SpooledSource, VectorSource
from pageann.datasets.files import file_bytes, storage_error
from pageann.datasets.records import RecordLayout, RecordSource
from pageann.errors import InvalidArgument, InvalidData, MissingDependency

__all__ = ["HDF5_SUFFIXES", "import_h5py", "open_hdf5", "split_dataset"]

HDF5_SUFFIXES = (".hdf5", ".h5")
_DEFAULT_DATASET = "train"


def import_h5py(path: Path) -> Any:
    """The module h5py, or MissingDependency naming the extra that brings it."""
    try:
        import h5py
    except ImportError:
        raise MissingDependency(
            f"{path}: HDF5 files need h5py; install it with: pip install 'pageann[hdf5]'"
        ) from None
    return h5py


def split_dataset(path: Path) -> tuple[Path, str | None]:
    """Split ``file.h5:test`` into the file and the dataset; None where there is no such ending."""
    text = str(path)
    for suffix in HDF5_SUFFIXES:
        head, mark, tail = text.partition(suffix + ":")
        if mark and tail and not path.exists():
            return Path(head + suffix), tail
    return path, None


def open_hdf5(path: Path, dataset: str | None) -> VectorSource:
    """Open one dataset of a file: mapped where it is stored in one piece, else spooled when mapped."""
    file_bytes(path)
    with _opened(path) as file:
        name, found = _dataset(path, file, dataset)
        if len(found.shape) != 2:
            raise InvalidArgument(f"{path}:{name}: has shape {found.shape}; vectors need two dimensions")
        rows, dim = found.shape
        dtype = np.dtype(found.dtype)
        offset_bytes = found.id.get_offset()
        in_one_piece = found.chunks is None and not found.compression and offset_bytes is not None
        if in_one_piece and file.userblock_size == 0:
            return RecordSource(path, rows, dim, dtype, RecordLayout(offset_bytes), f"{path}:{name}")
    return _Hdf5Source(path, name, rows, dim, dtype)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; what h5py says of a damaged one becomes InvalidData."""
    h5py = import_h5py(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno:
            raise storage_error(path, error) from error
        raise _damaged(path, error) from error
    with file:
        yield file


def _damaged(path: Path, error: Exception) -> InvalidData:
    reason = str(error).splitlines()[0]
    return InvalidData(f"{path}: cannot be read as HDF5: {reason}; copy or download it again")


def _dataset(path: Path, file: Any, wanted: str | None) -> tuple[str, Any]:
    """The dataset called ``wanted``, else ``train``, else the only two-dimensional one."""
    h5py = import_h5py(path)
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    if wanted is not None:
        wanted = wanted.strip("/")
    elif _DEFAULT_DATASET in names:
        wanted = _DEFAULT_DATASET
    else:
        tables = [name for name in names if len(file[name].shape or ()) == 2]
        wanted = tables[0] if len(tables) == 1 else _DEFAULT_DATASET
    if wanted not in names:
        known = ", ".join(names) or "no dataset"
        raise InvalidArgument(f"{path}: has no dataset {wanted!r}, but {known}; name one with dataset=")
    return wanted, file[wanted]


class _Hdf5Source(SpooledSource):
    """A dataset in chunks, perhaps compressed."""

    def __init__(self, path: Path, dataset: str, rows: int, dim: int, dtype: np.dtype[Any]) -> None:
        super().__init__(f"{path}:{dataset}", rows, dim, dtype)
        self._path = path
        self._dataset = dataset

    def _read(self, block_rows: int) -> Iterator[Array]:
        with _opened(self._path) as file:
            for start in range(0, self.rows, block_rows):
                try:
                    block = file[self._dataset][start : start + block_rows]
                except (OSError, KeyError, RuntimeError) as error:
                    raise InvalidData(
                        f"{self.name}: rows from {start:,} on cannot be read: {error}; copy the file again"
                    ) from error
                yield block
