"""Whatever bytes come in: vectors are what the message says, or refused; nothing is allocated for lies.

Guarded: a shape that asks for gigabytes with ten bytes of data, a product that overflows, a type that
does not exist, a view that reaches beyond its message.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.errors import InvalidArgument
from pageann.server.v1 import pageann_pb2 as pb
from pageann.types import DTYPES
from pageann.wire.vectors import WIRE_DTYPES, dtype_number, pack_vectors, unpack_vectors

MOST_ROWS, MOST_DIM = 64, 48
MOST_BYTES = 1 << 20
"""More than any message here, less than any lie."""

numbers = st.integers(0, 2**32 - 1)
vectors = st.builds(
    pb.Vectors,
    data=st.binary(max_size=300),
    dtype=st.integers(0, 6),
    rows=st.one_of(st.integers(0, 5), numbers),
    dim=st.one_of(st.integers(0, 60), numbers),
)
requests = st.builds(
    pb.SearchRequest,
    index=st.text(max_size=10),
    queries=vectors,
    k=numbers,
    recall=st.floats(),
    radius=st.floats(),
    stats=st.booleans(),
)


def unpack(message: pb.Vectors) -> np.ndarray:
    return unpack_vectors(message, most_rows=MOST_ROWS, most_dim=MOST_DIM)


def require_valid_or_refused(message: pb.Vectors) -> None:
    """Either an array of exactly what is said, or InvalidArgument that names the field; little memory."""
    tracemalloc.start()
    try:
        array = unpack(message)
    except InvalidArgument as error:
        assert str(error).startswith("queries.")  # noqa: PT017
    else:
        assert array.shape == (message.rows, message.dim)
        assert array.shape[0] <= MOST_ROWS
        assert array.shape[1] <= MOST_DIM
        assert array.dtype == WIRE_DTYPES[message.dtype]
        assert array.tobytes() == message.data
        assert not array.flags.writeable
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES


@given(vectors)
@settings(max_examples=300, deadline=None)
def test_any_message(message: pb.Vectors) -> None:
    require_valid_or_refused(message)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    try:
        request = pb.SearchRequest.FromString(data)
    except DecodeError:
        return
    require_valid_or_refused(request.queries)


@given(requests, st.data())
@settings(max_examples=300, deadline=None)
def test_requests_with_bytes_changed(request: pb.SearchRequest, data: st.DataObject) -> None:
    spoilt = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        if spoilt:
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = pb.SearchRequest.FromString(bytes(spoilt))
    except DecodeError:
        return
    require_valid_or_refused(changed.queries)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 7), (MOST_ROWS, MOST_DIM)])
def test_vectors_survive(dtype: np.dtype[np.generic], shape: tuple[int, int]) -> None:
    array = (np.random.default_rng(1).standard_normal(shape) * 20).astype(dtype)
    back = unpack(pb.Vectors.FromString(pack_vectors(array).SerializeToString()))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_vectors_in_any_order_of_memory_survive() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for other in (np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2], array.astype(">f4")):
        assert unpack(pack_vectors(other)).tobytes() == array.tobytes()


def test_special_values_survive_bit_by_bit() -> None:
    array = np.array([[np.nan, np.inf, -0.0, 1e-45]], np.float32)
    assert unpack(pack_vectors(array)).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (pb.Vectors(data=b"1234", rows=1, dim=1), r"queries\.dtype=0"),
        (pb.Vectors(data=b"1234", dtype=9, rows=1, dim=1), r"queries\.dtype=9"),  # type: ignore[arg-type]
        (
            pb.Vectors(data=b"1234", dtype=pb.D_TYPE_FLOAT32, rows=2, dim=1),
            "4 bytes; 2 rows x 1 float32 are 8",
        ),
        (pb.Vectors(data=b"", dtype=pb.D_TYPE_FLOAT32, rows=1, dim=0), r"queries\.dim=0"),
        (pb.Vectors(data=b"1", dtype=pb.D_TYPE_INT8, rows=2**32 - 1, dim=1), r"queries\.rows=4294967295"),
        (pb.Vectors(data=b"1", dtype=pb.D_TYPE_INT8, rows=1, dim=2**32 - 1), r"queries\.dim=4294967295"),
    ],
)
def test_a_lie_is_named(message: pb.Vectors, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        unpack(message)


def test_types_that_are_never_stored_are_not_packed() -> None:
    with pytest.raises(InvalidArgument, match="complex128"):
        dtype_number(np.dtype(complex))


def test_text_that_is_no_utf8_is_no_request() -> None:
    with pytest.raises(DecodeError):
        pb.SearchRequest.FromString(b"\x0a\x02\xff\xfe")
