"""What users pass, as what a message can carry, or InvalidArgument naming the option.

Only what a message cannot say is refused here. Limits of the index (its dimension, the largest k, NaN)
are for the service to judge, which words them as the library does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.errors import InvalidArgument, UnknownId
from pageann.server.v1 import pageann_pb2 as pb
from pageann.types import DTYPES

__all__ = ["WHOLE_MAX", "id_message", "listed_ids", "query_array", "real_number", "whole_number"]

WHOLE_MAX = 2**32 - 1
_EXACT_INTEGER = 1 << 24  # the integers up to here are float32 values
_INT64 = np.iinfo(np.int64)
_KNOWN = frozenset(DTYPES)


def whole_number(option: str, value: Any, *, least: int) -> int:
    """``value`` as a whole number from ``least`` to 2^32 - 1."""
    if type(value) is int and least <= value <= WHOLE_MAX:
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and least <= value <= WHOLE_MAX:
        return int(value)
    raise InvalidArgument(f"{option}={value!r}: give a whole number from {least} to {WHOLE_MAX}")


def real_number(option: str, value: Any) -> float:
    """``value`` as a float."""
    if type(value) is float:
        return value
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidArgument(f"{option}={value!r}: give a number")


def query_array(queries: Any) -> NDArray[Any]:
    """``queries`` as (q, dim) of a type that can travel; others become float32, as in the library."""
    try:
        array = np.asarray(queries)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"queries: cannot be read as an array of numbers: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidArgument(f"queries: values of type {array.dtype} are not numbers; pass float32")
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise InvalidArgument(f"queries: have shape {array.shape}; pass (q, dim) or (dim,)")
    if array.dtype in _KNOWN or array.dtype.newbyteorder("=") in DTYPES:
        return array
    if array.dtype.kind in "iu" and ((array > _EXACT_INTEGER) | (array < -_EXACT_INTEGER)).any():
        raise InvalidArgument("queries: hold an integer beyond 2^24; scale the vectors")
    with np.errstate(over="ignore"):  # an infinity is refused by the service, with its row
        return array.astype(np.float32)


def listed_ids(ids: Any) -> list[Any]:
    """``ids``, any sequence or array of integers or of strings, as a list."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise InvalidArgument(f"ids of shape {ids.shape}: pass one dimension of ids")
        return list(ids.tolist())
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidArgument(f"ids: {ids!r} is one value; pass a list of ids")
    return list(ids)


def id_message(index: str, ids: list[Any]) -> pb.GetRequest:
    """The request for the vectors of ``ids``. InvalidArgument; UnknownId for what no index can hold."""
    request = pb.GetRequest(index=index)
    if ids and isinstance(ids[0], str):
        for value in ids:
            if not isinstance(value, str):
                raise InvalidArgument(f"id {value!r}: pass a list of integers or one of strings")
        try:
            request.string_ids.values.extend(ids)
        except UnicodeEncodeError:
            raise InvalidArgument("ids: a string holds half a surrogate pair; pass text") from None
        return request
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InvalidArgument(f"id {value!r}: pass a list of integers or one of strings")
        if not _INT64.min <= value <= _INT64.max:
            raise UnknownId(f"id {int(value)} is not in the index; ids are 64-bit integers")
    request.int64_ids.SetInParent()
    request.int64_ids.values.extend(map(int, ids))
    return request
