"""The ids that a user asks for, in the type that the index holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument, UnknownId

__all__ = ["unknown_id", "wanted_integers", "wanted_strings"]


def wanted_integers(ids: Any) -> npt.NDArray[np.int64]:
    """``ids``, any sequence or array of integers, as int64 (m,).

    Raises InvalidArgument for another type, UnknownId for an integer that is no int64.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind == "i":
        return np.ascontiguousarray(_one_dimension(ids), dtype=np.int64)
    values = _listed(ids)
    limits = np.iinfo(np.int64)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InvalidArgument(f"id {value!r}: the ids of this index are integers; pass a list of them")
        if not limits.min <= value <= limits.max:
            raise unknown_id(int(value))
    return np.array(values, np.int64)


def wanted_strings(ids: Any) -> list[str]:
    """``ids``, any sequence or array of strings, as a list; InvalidArgument for another type."""
    values = _listed(ids)
    for value in values:
        if not isinstance(value, str):
            raise InvalidArgument(f"id {value!r}: the ids of this index are strings; pass a list of them")
    return values


def unknown_id(value: int | str) -> UnknownId:
    """The error to raise for an id that the index does not hold."""
    return UnknownId(f"id {value!r} is not in the index; ask for ids that were given when it was built")


def _one_dimension(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if ids.ndim != 1:
        raise InvalidArgument(f"ids of shape {ids.shape}: pass one dimension of ids")
    return ids


def _listed(ids: Any) -> list[Any]:
    if hasattr(ids, "to_pylist"):
        return list(ids.to_pylist())
    if isinstance(ids, np.ndarray):
        return list(_one_dimension(ids).tolist())
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidArgument(f"ids: {ids!r} is one value; pass a list of ids")
    return list(ids)
