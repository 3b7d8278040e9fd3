"""Write vector files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array, IdValues, VectorSource, block_rows_for
from pageann.datasets.columnar import ARROW_SUFFIXES, import_pyarrow
from pageann.datasets.files import storage_error
from pageann.datasets.hdf5 import HDF5_SUFFIXES, import_h5py
from pageann.datasets.ids import check_ids
from pageann.datasets.records import BIN_DTYPES, VECS_DTYPES
from pageann.datasets.source import SUFFIXES, open_any
from pageann.errors import InvalidArgument, InvalidData, StorageError

__all__ = ["write_ids", "write_vectors"]


@dataclass(frozen=True, slots=True)
class _Output:
    """What is written: ``(rows, dim)`` of ``dtype``, in blocks, with ids where the format has them."""

    rows: int
    dim: int
    dtype: np.dtype[Any]
    blocks: Iterator[tuple[int, Array]]
    ids: IdValues | None


def write_vectors(
    path: str | Path,
    vectors: Any,
    rows: int | None = None,
    dim: int | None = None,
    dtype: npt.DTypeLike | None = None,
    *,
    ids: Any = None,
) -> None:
    """Write vectors in the format that the suffix of ``path`` names, replacing what was there.

    ``vectors`` is anything that ``open_vectors`` takes; an iterator of blocks needs ``rows`` and
    ``dim``. ``dtype`` is the element type in the file (default: the suffix's, else the input's). Every
    value must survive the conversion, except that float64 is rounded to float32. ``ids`` go into the
    column ``id`` of .parquet, .arrow and .feather; HDF5 vectors are the dataset ``train``.

    The file appears under its name only when it is complete and on disk. Raises InvalidArgument for
    an unknown suffix or a type that it cannot hold, InvalidData naming the row of a value that would
    change, StorageError where the operating system refuses.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidArgument(f"{path}: unknown suffix {suffix!r}; use one of {' '.join(SUFFIXES)}")
    if ids is not None and suffix not in ARROW_SUFFIXES:
        raise InvalidArgument(
            f"{path}: {suffix} has no place for ids; use {' '.join(ARROW_SUFFIXES)} or a file of ids"
        )
    source = vectors if isinstance(vectors, VectorSource) else open_any(vectors, rows=rows, dim=dim)
    for option, stated, found in (("rows", rows, source.rows), ("dim", dim, source.dim)):
        if stated is not None and stated != found:
            raise InvalidArgument(f"{source.name}: {option}={stated} was stated, but the input has {found:,}")
    target = _target_dtype(path, source, dtype)
    checked_ids = None if ids is None else check_ids(ids, source.rows)
    output = _Output(source.rows, source.dim, target, _converted(source, target, path), checked_ids)
    with _replacing(path) as temporary:
        _writer(suffix)(temporary, output)


def write_ids(path: str | Path, ids: IdValues) -> None:
    """Write ids to .npy (int64 only) or to .txt (one a line, UTF-8), whole or not at all."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy" and isinstance(ids, list):
        raise InvalidArgument(f"{path}: .npy holds integer ids only; write string ids to a .txt file")
    if suffix not in (".npy", ".txt"):
        raise InvalidArgument(f"{path}: unknown suffix {suffix!r} for ids; use .npy or .txt")
    if isinstance(ids, list):
        for row, value in enumerate(ids):
            if "\n" in value or "\r" in value:
                raise InvalidData(f"{path}: the id of row {row:,} has a line break; write a .parquet file")
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        if suffix == ".npy":
            np.lib.format.write_array(file, np.asarray(ids, np.int64), allow_pickle=False)
        else:
            file.writelines(f"{value}\n".encode() for value in ids)


def _target_dtype(path: Path, source: VectorSource, dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    suffix = path.suffix.lower()
    fixed = {**BIN_DTYPES, **VECS_DTYPES}.get(suffix)
    if dtype is None:
        return fixed if fixed is not None else source.dtype.newbyteorder("=")
    wanted = np.dtype(dtype)
    if fixed is not None and wanted != fixed:
        raise InvalidArgument(f"{path}: {suffix} holds {fixed.name}, not {wanted.name}; use another suffix")
    return wanted


def _converted(source: VectorSource, dtype: np.dtype[Any], path: Path) -> Iterator[tuple[int, Array]]:
    for start, block in source.blocks(block_rows_for(source.dim, source.dtype.itemsize)):
        with np.errstate(over="ignore", invalid="ignore"):
            converted = block.astype(dtype, copy=False)
        if not np.can_cast(block.dtype, dtype, "safe"):
            _require_unchanged(source.name, block, converted, start, path)
        yield start, np.ascontiguousarray(converted)


def _require_unchanged(name: str, block: Array, converted: Array, start: int, path: Path) -> None:
    rounded = block.dtype.newbyteorder("=") == np.float64 and converted.dtype == np.float32
    same = np.isfinite(converted) if rounded else converted == block
    wrong = np.flatnonzero(~same.all(axis=1))
    if wrong.size:
        row = int(wrong[0])
        value = block[row][~same[row]][0]
        raise InvalidData(
            f"{name}: row {start + row:,} holds {value}, which {converted.dtype} in {path.name} cannot; "
            "use another suffix or dtype, or convert the vectors first"
        )


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to; afterwards it is synced and renamed to ``path``, or removed on any error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writer(suffix: str) -> Callable[[Path, _Output], None]:
    if suffix in BIN_DTYPES:
        return _write_bin
    if suffix in VECS_DTYPES:
        return _write_vecs
    if suffix in HDF5_SUFFIXES:
        return _write_hdf5
    if suffix == ".parquet":
        return _write_parquet
    return _write_ipc if suffix in ARROW_SUFFIXES else _write_npy


def _write_npy(path: Path, output: _Output) -> None:
    header = {
        "shape": (output.rows, output.dim),
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(output.dtype),
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, block in output.blocks:
            file.write(block.data)


def _write_bin(path: Path, output: _Output) -> None:
    with open(path, "wb") as file:
        file.write(np.array([output.rows, output.dim], "<u4").tobytes())
        for _, block in output.blocks:
            file.write(block.data)


def _write_vecs(path: Path, output: _Output) -> None:
    prefix = np.frombuffer(np.array([output.dim], "<i4").tobytes(), np.uint8)
    with open(path, "wb") as file:
        for _, block in output.blocks:
            vectors = block.view(np.uint8)
            records = np.empty((len(vectors), len(prefix) + vectors.shape[1]), np.uint8)
            records[:, : len(prefix)] = prefix
            records[:, len(prefix) :] = vectors
            file.write(records.data)


def _write_hdf5(path: Path, output: _Output) -> None:
    h5py = import_h5py(path)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("train", (output.rows, output.dim), output.dtype)
        for start, block in output.blocks:
            dataset[start : start + len(block)] = block


def _write_parquet(path: Path, output: _Output) -> None:
    import_pyarrow(str(path))
    import pyarrow.parquet as parquet

    with parquet.ParquetWriter(path, _schema(output)) as writer:
        for batch in _batches(output):
            writer.write_batch(batch)


def _write_ipc(path: Path, output: _Output) -> None:
    pyarrow = import_pyarrow(str(path))
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, _schema(output)) as writer:
        for batch in _batches(output):
            writer.write_batch(batch)


def _schema(output: _Output) -> Any:
    import pyarrow

    vector = pyarrow.list_(pyarrow.from_numpy_dtype(output.dtype), output.dim)
    fields = [("vector", vector)]
    if output.ids is not None:
        fields.insert(0, ("id", pyarrow.string() if isinstance(output.ids, list) else pyarrow.int64()))
    return pyarrow.schema(fields)


def _batches(output: _Output) -> Iterator[Any]:
    import pyarrow

    schema = _schema(output)
    for start, block in output.blocks:
        values = pyarrow.array(block.reshape(-1))
        columns = [pyarrow.FixedSizeListArray.from_arrays(values, output.dim)]
        if output.ids is not None:
            columns.insert(0, pyarrow.array(output.ids[start : start + len(block)], schema.field("id").type))
        yield pyarrow.record_batch(columns, schema=schema)
