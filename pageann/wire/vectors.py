"""Arrays of vectors as packed little-endian bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.errors import InvalidArgument
from pageann.server.v1 import pageann_pb2 as pb
from pageann.types import DTYPES

__all__ = ["WIRE_DTYPES", "dtype_number", "pack_vectors", "unpack_vectors"]

WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    pb.D_TYPE_FLOAT32: np.dtype("<f4"),
    pb.D_TYPE_FLOAT16: np.dtype("<f2"),
    pb.D_TYPE_INT8: np.dtype("i1"),
    pb.D_TYPE_UINT8: np.dtype("u1"),
}
"""Element type of each number of the protocol's DType, in the byte order of the wire."""

_NUMBERS: dict[np.dtype[Any], pb.DType] = {
    np.dtype(np.float32): pb.D_TYPE_FLOAT32,
    np.dtype(np.float16): pb.D_TYPE_FLOAT16,
    np.dtype(np.int8): pb.D_TYPE_INT8,
    np.dtype(np.uint8): pb.D_TYPE_UINT8,
}


def dtype_number(dtype: np.dtype[Any]) -> pb.DType:
    """The protocol's number of an element type. Raises InvalidArgument for one that is never stored."""
    number = _NUMBERS.get(dtype)
    if number is None:
        number = _NUMBERS.get(dtype.newbyteorder("="))
    if number is None:
        names = ", ".join(map(str, DTYPES))
        raise InvalidArgument(f"vectors of type {dtype} are not supported; convert them to one of {names}")
    return number


def pack_vectors(array: NDArray[Any]) -> pb.Vectors:
    """The message that holds ``array`` (rows, dim), of one of :data:`pageann.types.DTYPES`."""
    number = dtype_number(array.dtype)
    rows, dim = array.shape
    packed = array.astype(WIRE_DTYPES[number], copy=False)
    return pb.Vectors(data=packed.tobytes(), dtype=number, rows=rows, dim=dim)


def unpack_vectors(
    message: pb.Vectors, *, most_rows: int, most_dim: int, field: str = "queries"
) -> NDArray[Any]:
    """The array (rows, dim) in ``message``: a read-only view of its bytes, not a copy.

    Raises InvalidArgument, naming ``field``, where type, shape and length do not fit together or a
    limit is exceeded. Values are not looked at: NaN is refused by the search.
    """
    dtype = WIRE_DTYPES.get(message.dtype)
    if dtype is None:
        raise InvalidArgument(f"{field}.dtype={message.dtype} is no element type; see DType in the protocol")
    rows, dim, data = message.rows, message.dim, message.data
    if rows > most_rows:
        raise InvalidArgument(f"{field}.rows={rows}: at most {most_rows} go into one call; send several")
    if not 1 <= dim <= most_dim:
        raise InvalidArgument(f"{field}.dim={dim}: give a dimension from 1 to {most_dim}")
    wanted = rows * dim * dtype.itemsize
    if len(data) != wanted:
        raise InvalidArgument(
            f"{field}.data holds {len(data)} bytes; {rows} rows x {dim} {dtype.name} are {wanted}"
        )
    return np.frombuffer(data, dtype).reshape(rows, dim)
