"""Which of 32 distances are small enough to matter, in a few wide instructions.

A distance is ``base + norms[j] - 2 * products[j]``. Most pairs of a block of products are too far
apart for any list; this is how they are passed over.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from pageann.index.kernels.scan import LANES, spread
from pageann.storage.memory import Code, typed_intrinsic

__all__ = ["RUN", "first_bit", "run_within"]

RUN = LANES
"""Distances that are looked at together."""

_REALS = ir.VectorType(ir.FloatType(), RUN)
_BITS = ir.IntType(RUN)
_INT = ir.IntType(64)


@typed_intrinsic
def run_within(typing_context: Any, products: Any, norms: Any, limits: Any, base: Any, limit: Any) -> Code:
    """As bits, which of 32 distances are at most their own limit or ``limit``.

    ``products``, ``norms`` and ``limits`` are addresses (int64) of 32 float32 each. Doubling is exact, so
    ``base + norms[j] - np.float32(2) * products[j]`` rounds in the same way anywhere.
    """
    address, real = types.int64, types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        products, norms, limits = (
            builder.load(builder.inttoptr(each, _REALS.as_pointer()), align=1) for each in arguments[:3]
        )
        base, limit = (spread(builder, each) for each in arguments[3:])
        twice = builder.fadd(products, products)
        distances = builder.fsub(builder.fadd(base, norms), twice)
        most = builder.select(builder.fcmp_ordered(">", limits, limit), limits, limit)
        within = builder.fcmp_ordered("<=", distances, most)
        return builder.zext(builder.bitcast(within, _BITS), _INT)

    return types.int64(address, address, address, real, real), generate


@typed_intrinsic
def first_bit(typing_context: Any, bits: Any) -> Code:
    """The place of the lowest bit that is set; ``bits`` int64 is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
