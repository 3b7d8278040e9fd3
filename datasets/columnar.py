"""Parquet files, Arrow files and Arrow data in memory: vectors in one column, ids in another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pageann.datasets.base import Array, IdValues, SpooledSource, VectorSource
from pageann.datasets.files import file_bytes, storage_error
from pageann.errors import InvalidArgument, InvalidData, MissingDependency

__all__ = ["ARROW_SUFFIXES", "import_pyarrow", "is_arrow", "open_arrow", "open_columnar", "read_column_ids"]

ARROW_SUFFIXES = (".parquet", ".arrow", ".feather")
_ID_COLUMN = "id"
_ID_BATCH_ROWS = 1 << 16


def import_pyarrow(name: str) -> Any:
    """The module pyarrow, or MissingDependency naming the extra that brings it."""
    try:
        import pyarrow
    except ImportError:
        raise MissingDependency(
            f"{name}: Parquet and Arrow need pyarrow; install it with: pip install 'pageann[arrow]'"
        ) from None
    return pyarrow


@dataclass(frozen=True, slots=True)
class _Columns:
    """Named columns of one length, each read in batches."""

    name: str
    """What messages call the input."""
    rows: int
    schema: Any
    read: Callable[[str, int], Iterator[Any]]
    """``(column, batch rows)`` to Arrow arrays, in row order."""


def is_arrow(vectors: Any) -> bool:
    """Whether this is pyarrow's array, chunked array, record batch or table."""
    return type(vectors).__module__.split(".")[0] == "pyarrow"


def open_columnar(path: Path, column: str | None, id_column: str | None) -> VectorSource:
    """Open the vectors (and ids) of a .parquet, .arrow or .feather file."""
    return _open(_file_columns(path), column, id_column)


def open_arrow(data: Any, column: str | None, id_column: str | None, name: str = "vectors") -> VectorSource:
    """Open Arrow data in memory; an array, chunked or not, is a table of one column."""
    pyarrow = import_pyarrow(name)
    if isinstance(data, (pyarrow.Array, pyarrow.ChunkedArray)):
        data = pyarrow.table({"vector": data})
    if isinstance(data, pyarrow.RecordBatch):
        data = pyarrow.Table.from_batches([data])
    if not isinstance(data, pyarrow.Table):
        raise InvalidArgument(f"{name}: {type(data).__name__} is no Arrow array or table")

    def read(wanted: str, batch_rows: int) -> Iterator[Any]:
        for chunk in data.column(wanted).chunks:
            for start in range(0, len(chunk), batch_rows):
                yield chunk.slice(start, batch_rows)

    return _open(_Columns(name, data.num_rows, data.schema, read), column, id_column)


def read_column_ids(path: Path, column: str | None) -> IdValues:
    """The ids in ``column``, else in ``id``, else in the only column that could hold ids."""
    columns = _file_columns(path)
    if column is None:
        usable = [field.name for field in columns.schema if _holds_ids(field.type)]
        column = usable[0] if len(usable) == 1 else _ID_COLUMN
    _require_column(columns, column, "column")
    return _ids(columns, column)


def _file_columns(path: Path) -> _Columns:
    file_bytes(path)
    import_pyarrow(str(path))
    return _parquet_columns(path) if path.suffix.lower() == ".parquet" else _ipc_columns(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into InvalidData."""
    pyarrow = import_pyarrow(str(path))
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise storage_error(path, error) from error
        reason = (str(error).splitlines() or ["unknown reason"])[0]
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "an Arrow file"
        raise InvalidData(f"{path}: cannot be read as {kind}: {reason}; copy or write it again") from error


def _parquet_columns(path: Path) -> _Columns:
    import pyarrow.parquet as parquet

    with _reading(path), parquet.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow

    def read(wanted: str, batch_rows: int) -> Iterator[Any]:
        with _reading(path), parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=[wanted]):
                yield batch.column(0)

    return _Columns(str(path), rows, schema, read)


def _ipc_columns(path: Path) -> _Columns:
    with _reading(path):
        rows, schema = 0, None
        for batch in _ipc_batches(path):
            schema = batch.schema
            rows += batch.num_rows
    if schema is None:
        raise InvalidData(f"{path}: holds no rows; at least one is needed")

    def read(wanted: str, batch_rows: int) -> Iterator[Any]:
        with _reading(path):
            for batch in _ipc_batches(path):
                column = batch.column(wanted)
                for start in range(0, len(column), batch_rows):
                    yield column.slice(start, batch_rows)

    return _Columns(str(path), rows, schema, read)


def _ipc_batches(path: Path) -> Iterator[Any]:
    """The record batches of an Arrow file, or of a stream in a file."""
    import pyarrow
    from pyarrow import ipc

    with pyarrow.memory_map(str(path)) as data:
        try:
            reader = ipc.open_file(data)
        except pyarrow.ArrowInvalid:
            data.seek(0)
            yield from ipc.open_stream(data)
            return
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _open(columns: _Columns, column: str | None, id_column: str | None) -> VectorSource:
    if columns.rows < 1:
        raise InvalidData(f"{columns.name}: holds no rows; at least one is needed")
    if column is None:
        column = _only_vector_column(columns)
    _require_column(columns, column, "column")
    if id_column is None:
        by_default = _ID_COLUMN in columns.schema.names and _holds_ids(columns.schema.field(_ID_COLUMN).type)
        id_column = _ID_COLUMN if by_default else ""
    if id_column:
        _require_column(columns, id_column, "id_column")
    return _ColumnSource(columns, column, id_column)


def _require_column(columns: _Columns, wanted: str, option: str) -> None:
    if columns.schema.names.count(wanted) != 1:
        names = ", ".join(columns.schema.names)
        raise InvalidArgument(f"{columns.name}: has no one column {wanted!r}, but {names}; set {option}=")


def _only_vector_column(columns: _Columns) -> str:
    found = [field.name for field in columns.schema if _element_type(field.type) is not None]
    if len(found) != 1:
        what = ", ".join(found) if found else "no column of lists of numbers"
        raise InvalidArgument(f"{columns.name}: has {what}; name the vectors' column with column=")
    return str(found[0])


def _storage_type(kind: Any) -> Any:
    return kind.storage_type if hasattr(kind, "storage_type") else kind


def _element_type(kind: Any) -> np.dtype[Any] | None:
    """The NumPy type of a list's elements; None for a column that holds no vectors."""
    from pyarrow import types

    kind = _storage_type(kind)
    if not (types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)):
        return None
    value = kind.value_type
    if not (types.is_floating(value) or types.is_integer(value)):
        return None
    dtype: np.dtype[Any] = np.dtype(value.to_pandas_dtype())
    return dtype


def _holds_ids(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


class _ColumnSource(SpooledSource):
    """One column of lists, all of one length."""

    def __init__(self, columns: _Columns, column: str, id_column: str) -> None:
        kind = columns.schema.field(column).type
        dtype = _element_type(kind)
        if dtype is None:
            raise InvalidArgument(f"{columns.name}: column {column!r} is {kind}, not lists of numbers")
        self._columns = columns
        self._column = column
        self._id_column = id_column
        name = f"{columns.name}:{column}"
        super().__init__(name, columns.rows, _list_length(columns, column, name), dtype)

    @property
    def ids(self) -> IdValues | None:
        return _ids(self._columns, self._id_column) if self._id_column else None

    def _read(self, block_rows: int) -> Iterator[Array]:
        start = 0
        for array in self._columns.read(self._column, block_rows):
            if len(array):
                yield self._vectors(getattr(array, "storage", array), start)
            start += len(array)

    def _vectors(self, lists: Any, start: int) -> Array:
        if lists.null_count:
            raise self._missing(start + _first_null(lists))
        if hasattr(lists, "value_lengths"):
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            wrong = np.flatnonzero(lengths != self.dim)
            if wrong.size:
                row = int(wrong[0])
                raise InvalidData(
                    f"{self.name}: row {start + row:,} has {int(lengths[row])} values, row 0 has {self.dim}; "
                    "all rows must agree"
                )
        values = lists.flatten()
        if values.null_count:
            raise self._missing(start + _first_null(values) // self.dim)
        block: Array = values.to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        return block

    def _missing(self, row: int) -> InvalidData:
        return InvalidData(f"{self.name}: row {row:,} is null or holds a null; drop the row or fill it")


def _list_length(columns: _Columns, column: str, name: str) -> int:
    kind = _storage_type(columns.schema.field(column).type)
    if hasattr(kind, "list_size"):
        return int(kind.list_size)
    first = next((array for array in columns.read(column, 1) if len(array)), None)
    if first is None or first.null_count:
        raise InvalidData(f"{name}: row 0 is null; drop the row or fill it")
    return len(getattr(first, "storage", first)[0])


def _first_null(array: Any) -> int:
    return int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])


def _ids(columns: _Columns, column: str) -> IdValues:
    """All ids of a column: int64 or str."""
    import pyarrow

    kind = columns.schema.field(column).type
    if not _holds_ids(kind):
        raise InvalidArgument(f"{columns.name}: column {column!r} is {kind}; ids are integers or strings")
    value_kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    integers = pyarrow.types.is_integer(value_kind)
    arrays: list[Array] = []
    strings: list[str] = []
    start = 0
    for array in columns.read(column, _ID_BATCH_ROWS):
        if array.null_count:
            raise InvalidData(f"{columns.name}:{column}: row {start + _first_null(array):,} has no id (null)")
        plain = array.cast(value_kind)
        if integers:
            arrays.append(plain.to_numpy(zero_copy_only=False))
        else:
            strings.extend(plain.to_pylist())
        start += len(array)
    if not integers:
        return strings
    values = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
    large = np.flatnonzero(values > np.iinfo(np.int64).max) if values.dtype == np.uint64 else values[:0]
    if large.size:
        row = int(large[0])
        raise InvalidData(
            f"{columns.name}:{column}: row {row:,} has id {values[row]}, which is no int64; "
            "store the ids as strings"
        )
    return values.astype(np.int64, copy=False)
