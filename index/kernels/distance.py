"""Exact distances of stored vectors: integers are summed as integers, floats in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pageann.jit import FAST, has_cpu_feature, kernel
from pageann.storage.memory import view_f32, view_i8, view_u8, view_u16

__all__ = ["FLOAT16", "FLOAT32", "INT8", "UINT8", "exact_value", "half_to_float", "scalar_quantised_value"]

FLOAT32, FLOAT16, INT8, UINT8 = 0, 1, 2, 3
"""Positions in :data:`pageann.types.DTYPES`."""
_L2, _IP = 0, 1


@intrinsic
def _widen_half(typing_context: Any, bits: Any) -> Any:
    """The float32 with the value of a float16 given by its bits, by instruction (F16C)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@kernel
def half_by_arithmetic(bits):  # type: ignore[no-untyped-def]
    """``half_to_float`` in plain arithmetic."""
    exponent = (np.int64(bits) >> 10) & 31
    fraction = np.int64(bits) & 1023
    if exponent == 0:
        value = np.float32(fraction) * np.float32(2.0**-24)
    elif exponent == 31:
        value = np.float32(np.nan) if fraction else np.float32(np.inf)
    else:
        value = np.float32(1024 + fraction) * np.float32(2.0 ** (exponent - 25))
    return -value if np.int64(bits) & 0x8000 else value


if has_cpu_feature("f16c"):

    @kernel
    def half_to_float(bits):  # type: ignore[no-untyped-def]
        """The float32 with the value of a float16 given by its bits (uint16)."""
        return _widen_half(bits)

else:
    half_to_float = half_by_arithmetic


@kernel(fastmath=FAST)
def _integer_l2(row, query):  # type: ignore[no-untyped-def]
    total = np.int32(0)
    for i in range(row.shape[0]):  # Numba would widen each sum to int64, at five times the cost
        step = np.int32(np.int32(row[i]) - query[i])
        total = np.int32(total + np.int32(step * step))
    return np.float64(total)


@kernel(fastmath=FAST)
def _integer_products(row, query):  # type: ignore[no-untyped-def]
    """(<x, q>, <x, x>), exact while dim <= 8,192."""
    cross = np.int32(0)
    own = np.int32(0)
    for i in range(row.shape[0]):
        x = np.int32(row[i])
        cross = np.int32(cross + np.int32(x * query[i]))
        own = np.int32(own + np.int32(x * x))
    return np.float64(cross), np.float64(own)


@kernel(fastmath=FAST)
def _float_l2(row, query):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(row.shape[0]):
        step = np.float64(row[i]) - query[i]
        total += step * step
    return total


@kernel(fastmath=FAST)
def _float_products(row, query):  # type: ignore[no-untyped-def]
    cross = 0.0
    own = 0.0
    for i in range(row.shape[0]):
        x = np.float64(row[i])
        cross += x * query[i]
        own += x * x
    return cross, own


@kernel(fastmath=FAST)
def _half_l2(row, query):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(row.shape[0]):
        step = np.float64(half_to_float(row[i])) - query[i]
        total += step * step
    return total


@kernel(fastmath=FAST)
def _half_products(row, query):  # type: ignore[no-untyped-def]
    cross = 0.0
    own = 0.0
    for i in range(row.shape[0]):
        x = np.float64(half_to_float(row[i]))
        cross += x * query[i]
        own += x * x
    return cross, own


@kernel
def exact_value(address, dim, dtype, metric, integral, query, query_integer, inverse_norm):  # type: ignore[no-untyped-def]
    """Distance (float64) of the vector stored at ``address`` to the query.

    ``query`` float64 (dim,), ``query_integer`` int32 (dim,) of the same values where ``integral``;
    ``inverse_norm`` is 1 / |query|, used by cosine.
    """
    if metric == _L2:
        if dtype == UINT8:
            if integral:
                return _integer_l2(view_u8(address, dim), query_integer)
            return _float_l2(view_u8(address, dim), query)
        if dtype == INT8:
            if integral:
                return _integer_l2(view_i8(address, dim), query_integer)
            return _float_l2(view_i8(address, dim), query)
        if dtype == FLOAT32:
            return _float_l2(view_f32(address, dim), query)
        return _half_l2(view_u16(address, dim), query)
    if dtype == UINT8:
        if integral:
            cross, own = _integer_products(view_u8(address, dim), query_integer)
        else:
            cross, own = _float_products(view_u8(address, dim), query)
    elif dtype == INT8:
        if integral:
            cross, own = _integer_products(view_i8(address, dim), query_integer)
        else:
            cross, own = _float_products(view_i8(address, dim), query)
    elif dtype == FLOAT32:
        cross, own = _float_products(view_f32(address, dim), query)
    else:
        cross, own = _half_products(view_u16(address, dim), query)
    if metric == _IP:
        return -cross
    return 1.0 - cross * inverse_norm / np.sqrt(own)


@kernel(fastmath=FAST)
def scalar_quantised_value(address, dim, metric, shifted, steps):  # type: ignore[no-untyped-def]
    """Navigation score of a vector quantised to 8 bits a dimension.

    l2: sum of (shifted_i - steps_i * code_i)^2 with shifted = query - low; otherwise the sum of
    steps_i * code_i with steps already multiplied by -2 * query_i.
    """
    row = view_u8(address, dim)
    total = np.float32(0)
    if metric != _IP:
        for i in range(dim):
            step = shifted[i] - steps[i] * np.float32(row[i])
            total += step * step
    else:
        for i in range(dim):
            total += steps[i] * np.float32(row[i])
    return total
