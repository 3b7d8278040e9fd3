"""Loads and stores at an address, with the memory order that a ring shared with the kernel needs.

Each is one machine instruction on x86-64. Compiled code only; nothing checks the address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["load_acquire_u32", "load_i32", "load_i64", "store_i64", "store_release_u32"]

_Code = tuple[Any, Any]


def _intrinsic(definition: Callable[..., _Code]) -> Any:
    # Typed as Any: callers do not pass the typing context that the definition takes.
    return intrinsic(definition)


def _pointer(builder: Any, address: Any, bits: int) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


@_intrinsic
def load_acquire_u32(typing_context: Any, address: Any) -> _Code:
    """The uint32 at ``address``, as int64; nothing later moves before it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load_atomic(_pointer(builder, arguments[0], 32), "acquire", 4)
        return builder.zext(value, ir.IntType(64))

    return types.int64(types.int64), generate


@_intrinsic
def store_release_u32(typing_context: Any, address: Any, value: Any) -> _Code:
    """Put the low 32 bits of ``value`` at ``address``; nothing earlier moves behind it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low = builder.trunc(arguments[1], ir.IntType(32))
        builder.store_atomic(low, _pointer(builder, arguments[0], 32), "release", 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def load_i32(typing_context: Any, address: Any) -> _Code:
    """The int32 at ``address``, as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_pointer(builder, arguments[0], 32))
        return builder.sext(value, ir.IntType(64))

    return types.int64(types.int64), generate


@_intrinsic
def load_i64(typing_context: Any, address: Any) -> _Code:
    """The int64 at ``address``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], 64))

    return types.int64(types.int64), generate


@_intrinsic
def store_i64(typing_context: Any, address: Any, value: Any) -> _Code:
    """Put ``value`` at ``address``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _pointer(builder, arguments[0], 64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
