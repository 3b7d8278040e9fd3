"""The monotonic clock, for kernels."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from pageann.jit import kernel
from pageann.storage.memory import Code, typed_intrinsic

__all__ = ["now_ns"]

_CLOCK_MONOTONIC = 6 if sys.platform == "darwin" else 1
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@typed_intrinsic
def _clock_gettime(typing_context: Any) -> Code:
    """(seconds, nanoseconds) of the clock."""
    pair = types.UniTuple(types.int64, 2)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I32, _I64.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        place = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        parts = [cgutils.gep_inbounds(builder, place, 0, part) for part in (0, 1)]
        builder.call(function, [_I32(_CLOCK_MONOTONIC), parts[0]])
        return context.make_tuple(builder, pair, [builder.load(part) for part in parts])

    return pair(), generate


@kernel
def now_ns():  # type: ignore[no-untyped-def]
    """Nanoseconds of the clock that :func:`time.monotonic_ns` reads."""
    seconds, nanoseconds = _clock_gettime()
    return seconds * 1_000_000_000 + nanoseconds
