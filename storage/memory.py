"""Bytes at an address, for kernels: typed views and single loads and stores.

Buffers cross the border between Python and kernels as an int64 address. These intrinsics turn one
into NumPy-like views or single values inside a kernel; called from Python, a view would outlive
its memory, so they are for kernels only. Nothing is checked: the caller knows that the bytes are
there and stay there. Values are little-endian, as on every machine that Numba compiles for here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

__all__ = [
    "Code",
    "load_u8",
    "load_u16",
    "load_u32",
    "load_u64",
    "move_bytes",
    "prefetch",
    "store_f32",
    "store_u16",
    "store_u32",
    "store_u64",
    "typed_intrinsic",
    "view_f32",
    "view_i8",
    "view_i64",
    "view_u8",
    "view_u16",
]

Code = tuple[Any, Any]
"""What defines an intrinsic: its Numba signature, and what generates its LLVM instructions."""


def typed_intrinsic(definition: Callable[..., Code]) -> Any:
    """``numba.extending.intrinsic``, typed as Any: calls do not pass the typing context."""
    return intrinsic(definition)


def _load(number_type: Any, bits: int) -> Callable[[Any], Code]:
    """The code that reads one unsigned number, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
        return builder.load(pointer, align=1)

    return lambda address: (number_type(address), generate)


def _store(number_type: Any, bits: int) -> Callable[[Any], Code]:
    """The code that writes one unsigned number, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
        builder.store(arguments[1], pointer, align=1)
        return context.get_dummy_value()

    return lambda address: (types.void(address, number_type), generate)


@typed_intrinsic
def load_u8(typing_context: Any, address: Any) -> Code:
    """The uint8 at ``address``."""
    return _load(types.uint8, 8)(address)


@typed_intrinsic
def load_u16(typing_context: Any, address: Any) -> Code:
    """The uint16 at ``address``, which needs no alignment."""
    return _load(types.uint16, 16)(address)


@typed_intrinsic
def load_u32(typing_context: Any, address: Any) -> Code:
    """The uint32 at ``address``, which needs no alignment."""
    return _load(types.uint32, 32)(address)


@typed_intrinsic
def load_u64(typing_context: Any, address: Any) -> Code:
    """The uint64 at ``address``, which needs no alignment."""
    return _load(types.uint64, 64)(address)


@typed_intrinsic
def move_bytes(typing_context: Any, destination: Any, source: Any, nbytes: Any) -> Code:
    """Copy ``nbytes`` from the address ``source`` to ``destination``; the two ranges may overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        to, from_ = (builder.inttoptr(argument, pointer) for argument in arguments[:2])
        cgutils.raw_memmove(builder, to, from_, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@typed_intrinsic
def prefetch(typing_context: Any, address: Any) -> Code:
    """Have the cache line of ``address`` brought near; any address will do, none is touched."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        )
        reading, everywhere, data = flag(0), flag(3), flag(1)
        builder.call(hint, [builder.inttoptr(arguments[0], pointer), reading, everywhere, data])
        return context.get_dummy_value()

    return types.void(address), generate


@typed_intrinsic
def store_f32(typing_context: Any, address: Any, value: Any) -> Code:
    """Write ``value`` as a float32 at ``address``, which needs no alignment."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.FloatType().as_pointer())
        builder.store(arguments[1], pointer, align=1)
        return context.get_dummy_value()

    return types.void(address, types.float32), generate


@typed_intrinsic
def store_u16(typing_context: Any, address: Any, value: Any) -> Code:
    """Write ``value`` as a uint16 at ``address``."""
    return _store(types.uint16, 16)(address)


@typed_intrinsic
def store_u32(typing_context: Any, address: Any, value: Any) -> Code:
    """Write ``value`` as a uint32 at ``address``."""
    return _store(types.uint32, 32)(address)


@typed_intrinsic
def store_u64(typing_context: Any, address: Any, value: Any) -> Code:
    """Write ``value`` as a uint64 at ``address``."""
    return _store(types.uint64, 64)(address)


def _view(element: Any) -> Callable[[Any, Any], Code]:
    """The definition of a view of ``element``s; views own nothing, so nothing is counted."""
    array = types.Array(element, 1, "C")
    nbytes = element.bitwidth // 8

    def define(address: Any, count: Any) -> Code:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            size = context.get_value_type(types.intp)
            view = make_array(array)(context, builder)
            populate_array(
                view,
                data=builder.inttoptr(arguments[0], view.data.type),
                shape=[arguments[1]],
                strides=[size(nbytes)],
                itemsize=size(nbytes),
                meminfo=None,
            )
            return view._getvalue()

        return array(types.int64, types.intp), generate

    return define


@typed_intrinsic
def view_u8(typing_context: Any, address: Any, count: Any) -> Code:
    """A uint8 view of ``count`` elements at ``address``."""
    return _view(types.uint8)(address, count)


@typed_intrinsic
def view_i8(typing_context: Any, address: Any, count: Any) -> Code:
    """An int8 view of ``count`` elements at ``address``."""
    return _view(types.int8)(address, count)


@typed_intrinsic
def view_u16(typing_context: Any, address: Any, count: Any) -> Code:
    """A uint16 view of ``count`` elements at ``address``."""
    return _view(types.uint16)(address, count)


@typed_intrinsic
def view_i64(typing_context: Any, address: Any, count: Any) -> Code:
    """An int64 view of ``count`` elements at ``address``."""
    return _view(types.int64)(address, count)


@typed_intrinsic
def view_f32(typing_context: Any, address: Any, count: Any) -> Code:
    """A float32 view of ``count`` elements at ``address``."""
    return _view(types.float32)(address, count)
