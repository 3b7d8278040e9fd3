"""The ids that users give their rows: normalised, checked, read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import Array, IdValues
from pageann.datasets.columnar import ARROW_SUFFIXES, read_column_ids
from pageann.datasets.files import file_bytes, open_binary
from pageann.datasets.npy import read_npy_header
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["ID_SUFFIXES", "MAX_ID_BYTES", "IdValues", "check_ids", "read_ids"]

MAX_ID_BYTES = 65_535
"""Longest string id, in UTF-8."""
_INT64_DIGITS = 19
ID_SUFFIXES: tuple[str, ...] = (".npy", ".txt", *ARROW_SUFFIXES)
"""Suffixes of the files that :func:`read_ids` reads."""


def check_ids(ids: Any, rows: int, *, name: str = "ids") -> IdValues:
    """The ids as an int64 array or a list of str, one for each of ``rows`` rows, all different.

    ``ids`` is a sequence or array of integers or of strings, not both. Raises InvalidData, naming
    ``name`` and the row, for another number of ids, another type, None, an empty or overlong string,
    a duplicate (both rows are named) and -1, which pads short results.
    """
    values = _normalised(ids, name)
    if len(values) != rows:
        raise InvalidData(f"{name}: {len(values):,} ids for {rows:,} vectors; give each row one id")
    if isinstance(values, list):
        _require_distinct_strings(values, name)
    else:
        _require_distinct_integers(values, name)
    return values


def _normalised(ids: Any, name: str) -> IdValues:
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise InvalidData(f"{name}: has shape {ids.shape}; ids need one dimension")
        if ids.dtype.kind in "iu":
            return _int64(ids, name)
        if ids.dtype.kind not in "UO":
            raise InvalidData(f"{name}: ids of type {ids.dtype}; convert them to int64 or to strings")
        return _from_sequence(ids.tolist(), name)
    if hasattr(ids, "to_pylist"):
        return _from_sequence(ids.to_pylist(), name)
    if isinstance(ids, (list, tuple)):
        return _from_sequence(ids, name)
    if hasattr(ids, "__array__"):
        return _normalised(np.asarray(ids), name)
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise InvalidArgument(f"{name}: {type(ids).__name__} is not a sequence of ids")
    return _from_sequence(list(ids), name)


def _int64(values: Array, name: str) -> npt.NDArray[np.int64]:
    if values.dtype.kind == "u" and values.dtype.itemsize == 8:
        large = np.flatnonzero(values > np.uint64(np.iinfo(np.int64).max))
        if large.size:
            raise _too_large(name, int(large[0]), int(values[large[0]]))
    return np.ascontiguousarray(values, dtype=np.int64)


def _too_large(name: str, row: int, value: int) -> InvalidData:
    return InvalidData(f"{name}: row {row:,} has id {value}, which is no int64; give it as a string")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _from_sequence(values: Sequence[Any], name: str) -> IdValues:
    if all(map(_is_integer, values)):
        return _integers(values, name)
    if _all_strings(values):
        return list(values)
    raise _mixed(values, name)


def _all_strings(values: Sequence[Any]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(value, str) for value in values)


def _integers(values: Sequence[Any], name: str) -> npt.NDArray[np.int64]:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        limits = np.iinfo(np.int64)
        row = next(i for i, value in enumerate(values) if not limits.min <= int(value) <= limits.max)
        raise _too_large(name, row, int(values[row])) from None


def _mixed(values: Sequence[Any], name: str) -> InvalidData:
    """The reason why a sequence is neither all integers nor all strings."""
    strings = isinstance(values[0], str)
    wanted = "a string" if strings else "an integer"
    row = next(
        i for i, value in enumerate(values) if not (isinstance(value, str) if strings else _is_integer(value))
    )
    found = values[row]
    if found is None:
        return InvalidData(f"{name}: row {row:,} has no id (None); give every row one")
    if row == 0:
        return InvalidData(f"{name}: row 0 is a {type(found).__name__}; ids are integers or strings")
    return InvalidData(f"{name}: row {row:,} is a {type(found).__name__}, row 0 is {wanted}; use one type")


def _require_distinct_integers(values: npt.NDArray[np.int64], name: str) -> None:
    reserved = np.flatnonzero(values == -1)
    if reserved.size:
        raise InvalidData(f"{name}: row {int(reserved[0]):,} has id -1, which pads short results; change it")
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    repeats = np.flatnonzero(ranked[1:] == ranked[:-1])
    if repeats.size:
        at = repeats[np.argmin(order[repeats + 1])]
        raise _duplicate(name, int(order[at]), int(order[at + 1]), int(ranked[at]))


def _require_distinct_strings(values: list[str], name: str) -> None:
    row_of: dict[str, int] = {}
    for row, value in enumerate(values):
        _require_usable_string(value, row, name)
        first = row_of.setdefault(value, row)
        if first != row:
            raise _duplicate(name, first, row, value)


def _require_usable_string(value: str, row: int, name: str) -> None:
    if not value:
        raise InvalidData(f"{name}: row {row:,} has an empty id; give every row one")
    try:
        length_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidData(f"{name}: row {row:,} has an id that is no valid Unicode: {value!r}") from None
    if length_bytes > MAX_ID_BYTES:
        raise InvalidData(
            f"{name}: row {row:,} has an id of {length_bytes:,} bytes; {MAX_ID_BYTES:,} at most"
        )


def _duplicate(name: str, first: int, second: int, value: int | str) -> InvalidData:
    return InvalidData(f"{name}: rows {first:,} and {second:,} have the same id {value!r}; ids must differ")


def read_ids(path: str | Path, *, column: str | None = None) -> IdValues:
    """Read ids from .npy (integers or fixed-width strings), .txt (one a line), .parquet or .arrow.

    ``column`` names the column of a .parquet, .arrow or .feather file (default: ``id``, or the only one
    that could hold ids). A .txt file whose lines are all int64 in plain form gives int64, any other
    one strings: ``007`` stays a string. The ids are not checked: pass them to :func:`check_ids`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _read_npy_ids(path)
    if suffix == ".txt":
        return _read_text_ids(path)
    if suffix in ARROW_SUFFIXES:
        return read_column_ids(path, column)
    raise InvalidArgument(f"{path}: unknown suffix {suffix!r} for ids; use one of {' '.join(ID_SUFFIXES)}")


def _read_npy_ids(path: Path) -> IdValues:
    header = read_npy_header(path)
    if len(header.shape) != 1 or header.dtype.kind not in "iuU":
        raise InvalidData(
            f"{path}: has shape {header.shape} of {header.dtype}; ids are one dimension of int64 or str"
        )
    with open_binary(path) as file:
        file.seek(header.offset_bytes)
        values = np.frombuffer(file.read(), header.dtype)
    return _normalised(values, str(path))


def _read_text_ids(path: Path) -> IdValues:
    file_bytes(path)
    values = []
    with open_binary(path) as file:
        for row, line in enumerate(file):
            try:
                values.append(line.decode().rstrip("\r\n"))
            except UnicodeDecodeError:
                raise InvalidData(f"{path}: line {row + 1:,} is not UTF-8; save the file as UTF-8") from None
    if all(map(_is_plain_integer, values)):
        return _integers([int(value) for value in values], str(path))
    return values


def _is_plain_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _INT64_DIGITS):
        return False
    value = int(text)
    return str(value) == text and np.iinfo(np.int64).min <= value <= np.iinfo(np.int64).max
