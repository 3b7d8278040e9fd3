"""Score blocks of 4-bit codes against 8-bit tables by byte shuffles.

The idea is that of Quick(er) ADC (André, Kermarrec, Le Scouarnec, ICMR 2017; TPAMI 2019): tables of
16 bytes live in registers and one shuffle looks up 32 codes. A block is ``rows`` rows of ``stride``
bytes, one lane a code; ``score_block`` turns it into 32 scores. A machine without AVX2 runs a plain
loop with the same results.

A query's tables for code byte m are 64 bytes: the table of the low half twice, then that of the
high half twice (one for each 128-bit half of the register).

Codes of 8 bits a part are not for shuffles: a plain loop reads their tables, of 256 bytes a code byte.
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
from pageann.storage.memory import load_u8, load_u64, store_f32

__all__ = [
    "BYTE_TABLE_BYTES",
    "BYTE_WORDS",
    "LANES",
    "MAX_BLOCK_ROWS",
    "TABLE_BYTES",
    "USES_SHUFFLES",
    "fill_byte_tables",
    "fill_tables",
    "lookup_one",
    "plain_block",
    "score_block",
    "score_bytes",
    "score_factored",
    "spread",
]

LANES = 32
TABLE_BYTES = 64
BYTE_WORDS = 256
"""Words of a part whose number is a byte."""
BYTE_TABLE_BYTES = BYTE_WORDS
MAX_BLOCK_ROWS = 128
"""Rows whose two bytes each cannot overflow a sum of 16 bits: 128 * 2 * 255 <= 65,535."""
USES_SHUFFLES = has_cpu_feature("avx2")

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(ir.IntType(16), LANES // 2)
_COUNTS = ir.VectorType(_I32, LANES)
_REALS = ir.VectorType(ir.FloatType(), LANES)


def _splat(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


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


@intrinsic
def _shuffle_block(
    typing_context: Any,
    codes: Any,
    stride: Any,
    rows: Any,
    tables: Any,
    constants: Any,
    offset: Any,
    constant_step: Any,
    step: Any,
    limit: Any,
    scores: Any,
) -> Any:
    """:func:`plain_block` by vector instructions."""
    address, real = types.int64, types.float32
    signature = types.int64(
        address, types.int64, types.int64, address, address, real, real, real, real, address
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, stride, rows, tables, constants, offset, constant_step, step, limit, scores = arguments
        sums = _emit_sums(builder, codes, stride, rows, tables)
        known = builder.uitofp(_load(builder, constants, _BYTES), _REALS)
        fixed = builder.fadd(spread(builder, offset), builder.fmul(spread(builder, constant_step), known))
        values = builder.fadd(fixed, builder.fmul(spread(builder, step), builder.uitofp(sums, _REALS)))
        builder.store(values, builder.inttoptr(scores, _REALS.as_pointer()), align=1)
        below = builder.fcmp_ordered("<", values, spread(builder, limit))
        return builder.zext(builder.bitcast(below, _I32), _I64)

    return signature, generate


def _load(builder: Any, address: Any, vector: ir.VectorType) -> Any:
    return builder.load(builder.inttoptr(address, vector.as_pointer()), align=1)


def spread(builder: Any, value: Any) -> Any:
    """IR for a float in all of 32 lanes."""
    single = builder.insert_element(ir.Constant(_REALS, ir.Undefined), value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(single, single, lanes)


def _emit_sums(builder: Any, codes: Any, stride: Any, rows: Any, tables: Any) -> Any:
    """Sums of all rows, 32 lanes of 32 bits: those of up to 128 rows at a time are kept in 16 bits."""
    entry = builder.block
    names = ("chunks", "chunk", "rows", "row", "chunk.end", "end")
    chunks, chunk, head, body, flush, end = (builder.append_basic_block(name) for name in names)
    zero, none = ir.Constant(_I64, 0), ir.Constant(_COUNTS, [0] * LANES)
    builder.branch(chunks)

    builder.position_at_end(chunks)
    left, code_at, table_at, totals = (builder.phi(kind) for kind in (_I64, _I64, _I64, _COUNTS))
    for phi, start in ((left, rows), (code_at, codes), (table_at, tables), (totals, none)):
        phi.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed(">", left, zero), chunk, end)

    builder.position_at_end(chunk)
    most = ir.Constant(_I64, MAX_BLOCK_ROWS)
    count = builder.select(builder.icmp_signed("<", left, most), left, most)
    builder.branch(head)

    builder.position_at_end(head)
    row, code, table, both, odd = (builder.phi(kind) for kind in (_I64, _I64, _I64, _WORDS, _WORDS))
    starts = (zero, code_at, table_at, _splat(_WORDS, 0), _splat(_WORDS, 0))
    for phi, start in zip((row, code, table, both, odd), starts, strict=True):
        phi.add_incoming(start, chunk)
    builder.cbranch(builder.icmp_signed("<", row, count), body, flush)

    builder.position_at_end(body)
    next_both, next_odd = _emit_row(builder, code, table, both, odd)
    row.add_incoming(builder.add(row, ir.Constant(_I64, 1)), body)
    code.add_incoming(builder.add(code, stride), body)
    table.add_incoming(builder.add(table, ir.Constant(_I64, TABLE_BYTES)), body)
    both.add_incoming(next_both, body)
    odd.add_incoming(next_odd, body)
    builder.branch(head)

    builder.position_at_end(flush)
    even = builder.sub(both, builder.shl(odd, _splat(_WORDS, 8)))
    order = [half + lane for lane in range(LANES // 2) for half in (0, LANES // 2)]
    merged = builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(_I32, LANES), order))
    left.add_incoming(builder.sub(left, count), flush)
    code_at.add_incoming(code, flush)
    table_at.add_incoming(table, flush)
    totals.add_incoming(builder.add(totals, builder.zext(merged, _COUNTS)), flush)
    builder.branch(chunks)

    builder.position_at_end(end)
    return totals


def _emit_row(builder: Any, code: Any, table: Any, both: Any, odd: Any) -> tuple[Any, Any]:
    """Add one row: ``both`` sums whole words (even lane + 256 * odd lane), ``odd`` their high bytes."""
    shuffle = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_BYTES, [_BYTES, _BYTES]), "llvm.x86.avx2.pshuf.b"
    )
    packed = _load(builder, code, _BYTES)
    low = builder.and_(packed, _splat(_BYTES, 15))
    shifted = builder.bitcast(builder.lshr(builder.bitcast(packed, _WORDS), _splat(_WORDS, 4)), _BYTES)
    high = builder.and_(shifted, _splat(_BYTES, 15))
    second_half = builder.add(table, ir.Constant(_I64, LANES))
    first = builder.bitcast(builder.call(shuffle, [_load(builder, table, _BYTES), low]), _WORDS)
    second = builder.bitcast(builder.call(shuffle, [_load(builder, second_half, _BYTES), high]), _WORDS)
    eight = _splat(_WORDS, 8)
    return (
        builder.add(both, builder.add(first, second)),
        builder.add(odd, builder.add(builder.lshr(first, eight), builder.lshr(second, eight))),
    )


@kernel
def plain_block(  # type: ignore[no-untyped-def]
    codes, stride, rows, tables, constants, offset, constant_step, step, limit, scores
):
    """``score_block`` without vector instructions."""
    below = np.int64(0)
    for lane in range(LANES):
        total = np.float32(lookup_one(codes + lane, stride, rows, tables))
        constant = np.float32(load_u8(constants + lane))
        score = (offset + constant_step * constant) + step * total
        store_f32(scores + 4 * lane, score)
        if score < limit:
            below |= np.int64(1) << lane
    return below


if USES_SHUFFLES:

    @kernel
    def score_block(  # type: ignore[no-untyped-def]
        codes, stride, rows, tables, constants, offset, constant_step, step, limit, scores
    ):
        """Write 32 scores offset + constant_step * constant + step * sum at ``scores``, float32.

        Returns which of them are below ``limit``, as bits. All of ``codes``, ``tables``, ``constants``
        (uint8) and ``scores`` are addresses (int64); the four numbers between are float32. Reads 32
        bytes of every row and of the constants, whatever the stride: the caller keeps 32 bytes readable
        behind the last block, and ignores lanes that are not its own.
        """
        return _shuffle_block(
            codes, stride, rows, tables, constants, offset, constant_step, step, limit, scores
        )

else:
    score_block = plain_block


@kernel
def score_factored(  # type: ignore[no-untyped-def]
    codes, stride, rows, tables, offset, constant_step, base, step, factor_low, factor_step, limit, scores
):
    """Scores of codes whose sums count times a factor of their own, like those of ``score_block``.

    A score is offset + constant_step * constant + factor * (base + step * sum), and a factor is factor_low +
    factor_step * byte. The bytes of factors are the row behind the codes, those of constants the next.
    ``scores`` is an array, float32 (32,).
    """
    address = np.int64(scores.ctypes.data)
    factors = codes + rows * stride
    constants = factors + stride
    score_block(
        codes, stride, rows, tables, constants, base, np.float32(0), step, np.float32(np.inf), address
    )
    below = np.int64(0)
    for lane in range(LANES):
        constant = np.float32(load_u8(constants + lane))
        factor = factor_low + factor_step * np.float32(load_u8(factors + lane))
        scores[lane] = (offset + constant_step * constant) + factor * scores[lane]
        if scores[lane] < limit:
            below |= np.int64(1) << lane
    return below


@kernel(forceinline=True)
def _entry(table, packed, place):  # type: ignore[no-untyped-def]
    """What a table has for byte ``place`` of eight codes."""
    return np.int64(load_u8(table + np.int64((packed >> np.uint64(8 * place)) & np.uint64(255))))


@kernel(forceinline=True)
def _settle(lane, total, constants, offset, constant_step, step, limit, scores):  # type: ignore[no-untyped-def]
    constant = np.float32(load_u8(constants + lane))
    score = (offset + constant_step * constant) + step * np.float32(total)
    store_f32(scores + 4 * lane, score)
    return np.int64(score < limit) << lane


@kernel
def score_bytes(  # type: ignore[no-untyped-def]
    codes, stride, rows, tables, constants, offset, constant_step, step, limit, scores
):
    """As ``score_block``, of codes with a byte a part: eight lanes at a time, by a load each."""
    below = np.int64(0)
    for lane in range(0, LANES, 8):
        if lane >= stride:
            break
        a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        e, f, g, h = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        code, table = codes + lane, tables
        for _ in range(rows):
            packed = load_u64(code)
            a += _entry(table, packed, 0)
            b += _entry(table, packed, 1)
            c += _entry(table, packed, 2)
            d += _entry(table, packed, 3)
            e += _entry(table, packed, 4)
            f += _entry(table, packed, 5)
            g += _entry(table, packed, 6)
            h += _entry(table, packed, 7)
            code += stride
            table += BYTE_TABLE_BYTES
        below |= _settle(lane, a, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 1, b, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 2, c, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 3, d, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 4, e, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 5, f, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 6, g, constants, offset, constant_step, step, limit, scores)
        below |= _settle(lane + 7, h, constants, offset, constant_step, step, limit, scores)
    return below


@kernel(fastmath=FAST)
def _part_terms(rotated, starts, codewords, inner, values, words):  # type: ignore[no-untyped-def]
    """Terms of all words of all parts above the least of the part; returns (sum of the least, widest range).

    Parts may go over the dimensions several times: ``starts`` goes on counting.
    """
    base = np.float32(0)
    widest = np.float32(0)
    for p in range(starts.shape[0] - 1):
        length = starts[p + 1] - starts[p]
        first = starts[p] % rotated.shape[0]
        least = np.float32(np.inf)
        most = np.float32(-np.inf)
        for word in range(words):
            at = words * starts[p] + word * length
            total = np.float32(0)
            for i in range(length):
                if inner:
                    total -= np.float32(2) * rotated[first + i] * codewords[at + i]
                else:
                    step = rotated[first + i] - codewords[at + i]
                    total += step * step
            values[words * p + word] = total
            least = min(least, total)
            most = max(most, total)
        for word in range(words):
            values[words * p + word] -= least
        base += least
        widest = max(widest, most - least)
    return base, widest


@kernel(forceinline=True)
def _step_of(widest):  # type: ignore[no-untyped-def]
    """(step, its inverse) of 8-bit tables: the widest part's range over 255, so that sums are comparable."""
    step = widest / np.float32(255)
    inverse = np.float32(0)
    if step > np.float32(0):
        inverse = np.float32(1) / step
    return step, inverse


@kernel(fastmath=FAST)
def fill_byte_tables(rotated, starts, codewords, values, tables):  # type: ignore[no-untyped-def]
    """Tables for :func:`score_bytes`, of minus twice the inner products; returns (base, step).

    ``codewords`` float32 (256 * dim,), ``values`` float32 scratch and ``tables`` uint8 (256 * parts,).
    """
    base, widest = _part_terms(rotated, starts, codewords, True, values, BYTE_WORDS)
    step, inverse = _step_of(widest)
    for at in range(BYTE_WORDS * (starts.shape[0] - 1)):
        tables[at] = np.uint8(min(values[at] * inverse + np.float32(0.5), np.float32(255)))
    return base, step


@kernel(fastmath=FAST)
def fill_tables(rotated, starts, codewords, inner, values, tables):  # type: ignore[no-untyped-def]
    """8-bit tables of one rotated query; returns (base, step): an estimate is base + step * sum.

    ``inner`` False: squared distances of the parts; True: minus twice their inner products.
    ``values`` float32 scratch (16 * parts,), ``tables`` uint8 (64 * code bytes,).
    """
    parts = starts.shape[0] - 1
    base, widest = _part_terms(rotated, starts, codewords, inner, values, CODEWORDS)
    step, inverse = _step_of(widest)
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
