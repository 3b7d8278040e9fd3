"""Score blocks of 4-bit codes against 8-bit tables by byte shuffles.

The idea is that of Quick(er) ADC (André, Kermarrec, Le Scouarnec, ICMR 2017; TPAMI 2019): tables of
16 bytes live in registers and one shuffle looks up 32 codes. A block is ``rows`` rows of ``stride``
bytes, one lane a code; ``lookup_block`` adds up to 128 rows into 32 sums of 16 bits. A machine
without AVX2 runs a plain loop with the same results.

A query's tables for code byte m are 64 bytes: the table of the low half twice, then that of the
high half twice (one for each 128-bit half of the register).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pageann.index.kernels.codes import CODEWORDS
from pageann.jit import FAST, has_cpu_feature, kernel
from pageann.storage.memory import load_u8, store_u16

__all__ = [
    "LANES",
    "MAX_BLOCK_ROWS",
    "TABLE_BYTES",
    "USES_SHUFFLES",
    "fill_tables",
    "lookup_block",
    "lookup_one",
    "plain_block",
]

LANES = 32
TABLE_BYTES = 64
MAX_BLOCK_ROWS = 128
"""Rows whose two bytes each cannot overflow a sum of 16 bits: 128 * 2 * 255 <= 65,535."""
USES_SHUFFLES = has_cpu_feature("avx2")

_I16 = ir.IntType(16)
_I64 = ir.IntType(64)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(_I16, LANES // 2)


def _splat(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


@intrinsic
def _shuffle_block(typing_context: Any, codes: Any, stride: Any, rows: Any, tables: Any, sums: Any) -> Any:
    """Addresses of codes, tables and sums (32 uint16, in lane order); all int64."""
    signature = types.void(types.int64, types.int64, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, stride, rows, tables, sums = arguments
        shuffle = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_BYTES, [_BYTES, _BYTES]), "llvm.x86.avx2.pshuf.b"
        )

        def load(address: Any) -> Any:
            return builder.load(builder.inttoptr(address, _BYTES.as_pointer()), align=1)

        entry = builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        row = builder.phi(_I64)
        code = builder.phi(_I64)
        table = builder.phi(_I64)
        both = builder.phi(_WORDS)  # sum of whole words: even lane + 256 * odd lane
        odd = builder.phi(_WORDS)
        row.add_incoming(ir.Constant(_I64, 0), entry)
        code.add_incoming(codes, entry)
        table.add_incoming(tables, entry)
        both.add_incoming(_splat(_WORDS, 0), entry)
        odd.add_incoming(_splat(_WORDS, 0), entry)
        builder.cbranch(builder.icmp_signed("<", row, rows), body, end)

        builder.position_at_end(body)
        packed = load(code)
        low = builder.and_(packed, _splat(_BYTES, 15))
        shifted = builder.bitcast(builder.lshr(builder.bitcast(packed, _WORDS), _splat(_WORDS, 4)), _BYTES)
        high = builder.and_(shifted, _splat(_BYTES, 15))
        first = builder.bitcast(builder.call(shuffle, [load(table), low]), _WORDS)
        second = builder.bitcast(
            builder.call(shuffle, [load(builder.add(table, ir.Constant(_I64, LANES))), high]), _WORDS
        )
        next_both = builder.add(both, builder.add(first, second))
        eight = _splat(_WORDS, 8)
        next_odd = builder.add(odd, builder.add(builder.lshr(first, eight), builder.lshr(second, eight)))
        row.add_incoming(builder.add(row, ir.Constant(_I64, 1)), body)
        code.add_incoming(builder.add(code, stride), body)
        table.add_incoming(builder.add(table, ir.Constant(_I64, TABLE_BYTES)), body)
        both.add_incoming(next_both, body)
        odd.add_incoming(next_odd, body)
        builder.branch(head)

        builder.position_at_end(end)
        even = builder.sub(both, builder.shl(odd, _splat(_WORDS, 8)))
        order = [half + lane for lane in range(LANES // 2) for half in (0, LANES // 2)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        merged = builder.shuffle_vector(even, odd, mask)
        pointer = builder.inttoptr(sums, ir.VectorType(_I16, LANES).as_pointer())
        builder.store(merged, pointer, align=1)
        return context.get_dummy_value()

    return signature, generate


@kernel
def plain_block(codes, stride, rows, tables, sums):  # type: ignore[no-untyped-def]
    """``lookup_block`` without vector instructions."""
    for lane in range(LANES):
        total = np.int64(0)
        for row in range(rows):
            byte = np.int64(load_u8(codes + row * stride + lane))
            table = tables + row * TABLE_BYTES
            total += np.int64(load_u8(table + (byte & 15)))
            total += np.int64(load_u8(table + LANES + (byte >> 4)))
        store_u16(sums + 2 * lane, np.uint16(total))


if USES_SHUFFLES:

    @kernel
    def lookup_block(codes, stride, rows, tables, sums):  # type: ignore[no-untyped-def]
        """Write 32 uint16 sums at ``sums`` for the 32 lanes at ``codes`` (<= 128 rows; all addresses int64).

        Reads 32 bytes of every row, whatever the stride: the caller keeps 32 bytes readable behind
        the last block, and ignores lanes that are not its own.
        """
        _shuffle_block(codes, stride, rows, tables, sums)

else:
    lookup_block = plain_block


@kernel
def lookup_one(codes, stride, rows, tables):  # type: ignore[no-untyped-def]
    """The sum of one lane whose first byte is at ``codes``."""
    total = np.int64(0)
    for row in range(rows):
        byte = np.int64(load_u8(codes + row * stride))
        table = tables + row * TABLE_BYTES
        total += np.int64(load_u8(table + (byte & 15)))
        total += np.int64(load_u8(table + LANES + (byte >> 4)))
    return total


@kernel(fastmath=FAST)
def fill_tables(rotated, starts, codewords, inner, values, tables):  # type: ignore[no-untyped-def]
    """8-bit tables of one rotated query; returns (base, step): an estimate is base + step * sum.

    ``inner`` False: squared distances of the parts; True: minus twice their inner products.
    ``values`` float32 scratch (16 * parts,), ``tables`` uint8 (64 * code bytes,). The step is the
    widest part's range over 255, so that sums stay comparable.
    """
    parts = starts.shape[0] - 1
    base = np.float32(0)
    widest = np.float32(0)
    for p in range(parts):
        first = starts[p]
        length = starts[p + 1] - first
        least = np.float32(np.inf)
        most = np.float32(-np.inf)
        for word in range(CODEWORDS):
            at = CODEWORDS * first + word * length
            total = np.float32(0)
            for i in range(length):
                if inner:
                    total -= np.float32(2) * rotated[first + i] * codewords[at + i]
                else:
                    step = rotated[first + i] - codewords[at + i]
                    total += step * step
            values[CODEWORDS * p + word] = total
            least = min(least, total)
            most = max(most, total)
        for word in range(CODEWORDS):
            values[CODEWORDS * p + word] -= least
        base += least
        widest = max(widest, most - least)
    step = widest / np.float32(255)
    inverse = np.float32(0)
    if step > np.float32(0):
        inverse = np.float32(1) / step
    for p in range(2 * (tables.shape[0] // TABLE_BYTES)):
        at = (p >> 1) * TABLE_BYTES + (p & 1) * LANES
        for word in range(CODEWORDS):
            byte = np.uint8(0)
            if p < parts:
                rounded = values[CODEWORDS * p + word] * inverse + np.float32(0.5)
                byte = np.uint8(min(rounded, np.float32(255)))
            tables[at + word] = byte
            tables[at + CODEWORDS + word] = byte
    return base, step
