"""Product quantisation: encoding and decoding.

Parts are runs of consecutive dimensions of the rotated space, of any lengths: part p covers
``starts[p] : starts[p + 1]`` and its codewords, 16 or 256 of them (``count``), lie at
``codewords[count * starts[p] :]``, codeword by codeword. With 16, code byte m holds part 2m in its low half
and part 2m + 1 in its high half; with 256 it is part m.
"""

from __future__ import annotations

import numpy as np

from pageann.jit import FAST, kernel

__all__ = ["CODEWORDS", "assign_parts", "decode_rows", "encode_rows", "part_sums"]

CODEWORDS = 16
BLOCK_ROWS = 128
"""Rows that are assigned together."""


@kernel
def _turn(rotated, first, columns):  # type: ignore[no-untyped-def]
    """Rows from ``first`` on, dimension by dimension, into ``columns`` float32 (dim, BLOCK_ROWS)."""
    count = min(BLOCK_ROWS, rotated.shape[0] - first)
    for r in range(count):
        for i in range(columns.shape[0]):
            columns[i, r] = rotated[first + r, i]
    return count


@kernel(fastmath=FAST)
def _nearest(columns, first, last, count, codewords, sums, least, best):  # type: ignore[no-untyped-def]
    """The nearest codeword, the first of equals, of one part of a block of rows, into ``best``.

    Rows lie side by side and all is float32 (BLOCK_ROWS,), so that each step is one wide instruction
    for many rows; ``sums`` and ``least`` are scratch.
    """
    length = last - first
    for r in range(BLOCK_ROWS):
        least[r] = np.float32(np.inf)
        best[r] = np.float32(0)
    for word in range(count):
        at = count * first + word * length
        value = codewords[at]
        column = columns[first]
        number = np.float32(word)
        for r in range(BLOCK_ROWS):
            step = column[r] - value
            sums[r] = step * step
        for i in range(1, length):
            value = codewords[at + i]
            column = columns[first + i]
            for r in range(BLOCK_ROWS):
                step = column[r] - value
                sums[r] += step * step
        for r in range(BLOCK_ROWS):
            total, nearest = sums[r], least[r]
            best[r] = number if total < nearest else best[r]
            least[r] = min(total, nearest)


@kernel(allocates=True)
def assign_parts(rotated, starts, count, codewords, assigned):  # type: ignore[no-untyped-def]
    """Nearest codeword of each part into ``assigned`` uint8 (rows, parts)."""
    columns = np.zeros((rotated.shape[1], BLOCK_ROWS), np.float32)
    sums, least = np.empty(BLOCK_ROWS, np.float32), np.empty(BLOCK_ROWS, np.float32)
    best = np.empty(BLOCK_ROWS, np.float32)
    for top in range(0, rotated.shape[0], BLOCK_ROWS):
        turned = _turn(rotated, top, columns)
        for p in range(starts.shape[0] - 1):
            _nearest(columns, starts[p], starts[p + 1], count, codewords, sums, least, best)
            for r in range(turned):
                assigned[top + r, p] = np.uint8(best[r])


@kernel(allocates=True)
def encode_rows(rotated, starts, codewords, codes):  # type: ignore[no-untyped-def]
    """Codes (4 bits a part) uint8 (rows, bytes) of rotated float32 rows."""
    parts = starts.shape[0] - 1
    assigned = np.empty((rotated.shape[0], parts), np.uint8)
    assign_parts(rotated, starts, CODEWORDS, codewords, assigned)
    for r in range(rotated.shape[0]):
        for m in range(codes.shape[1]):
            high = assigned[r, 2 * m + 1] if 2 * m + 1 < parts else np.uint8(0)
            codes[r, m] = assigned[r, 2 * m] | (high << 4)


@kernel
def decode_rows(codes, starts, count, codewords, rotated):  # type: ignore[no-untyped-def]
    """The rotated float32 rows that ``codes`` stand for."""
    parts = starts.shape[0] - 1
    for r in range(codes.shape[0]):
        for p in range(parts):
            if count == CODEWORDS:
                word = (np.int64(codes[r, p >> 1]) >> (4 * (p & 1))) & 15
            else:
                word = np.int64(codes[r, p])
            first = starts[p]
            length = starts[p + 1] - first
            base = count * first + word * length
            for i in range(length):
                rotated[r, first + i] = codewords[base + i]


@kernel
def part_sums(rotated, assigned, starts, sums, counts):  # type: ignore[no-untyped-def]
    """Add each row's parts to the float64 sums of the codewords they are assigned to (one k-means step)."""
    for r in range(rotated.shape[0]):
        for p in range(starts.shape[0] - 1):
            first = starts[p]
            length = starts[p + 1] - first
            word = np.int64(assigned[r, p])
            base = counts.shape[1] * first + word * length
            for i in range(length):
                sums[base + i] += rotated[r, first + i]
            counts[p, word] += 1
