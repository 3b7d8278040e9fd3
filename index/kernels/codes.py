"""Product quantisation with 16 codewords a part: encoding, and the tables that queries use.

Parts are runs of consecutive dimensions of the rotated space, of any lengths: part p covers
``starts[p] : starts[p + 1]`` and its codewords lie at ``codewords[16 * starts[p] :]``, codeword by
codeword. Code byte m holds part 2m in its low half and part 2m + 1 in its high half.
"""

from __future__ import annotations

import numpy as np

from pageann.jit import FAST, kernel

__all__ = ["CODEWORDS", "assign_parts", "decode_rows", "encode_rows", "part_sums"]

CODEWORDS = 16


@kernel(fastmath=FAST)
def _nearest(row, first, last, codewords):  # type: ignore[no-untyped-def]
    length = last - first
    base = CODEWORDS * first
    best = 0
    least = np.float32(np.inf)
    for word in range(CODEWORDS):
        total = np.float32(0)
        for i in range(length):
            step = row[first + i] - codewords[base + word * length + i]
            total += step * step
        if total < least:
            least = total
            best = word
    return best


@kernel
def assign_parts(rotated, starts, codewords, assigned):  # type: ignore[no-untyped-def]
    """Nearest codeword of each part into ``assigned`` uint8 (rows, parts)."""
    for r in range(rotated.shape[0]):
        row = rotated[r]
        for p in range(starts.shape[0] - 1):
            assigned[r, p] = _nearest(row, starts[p], starts[p + 1], codewords)


@kernel
def encode_rows(rotated, starts, codewords, codes):  # type: ignore[no-untyped-def]
    """Codes uint8 (rows, bytes) of rotated float32 rows."""
    parts = starts.shape[0] - 1
    for r in range(rotated.shape[0]):
        row = rotated[r]
        for m in range(codes.shape[1]):
            low = _nearest(row, starts[2 * m], starts[2 * m + 1], codewords)
            high = 0
            if 2 * m + 1 < parts:
                high = _nearest(row, starts[2 * m + 1], starts[2 * m + 2], codewords)
            codes[r, m] = low | (high << 4)


@kernel
def decode_rows(codes, starts, codewords, rotated):  # type: ignore[no-untyped-def]
    """The rotated float32 rows that ``codes`` stand for."""
    parts = starts.shape[0] - 1
    for r in range(codes.shape[0]):
        for p in range(parts):
            word = (codes[r, p >> 1] >> (4 * (p & 1))) & 15
            first = starts[p]
            length = starts[p + 1] - first
            base = CODEWORDS * first + word * length
            for i in range(length):
                rotated[r, first + i] = codewords[base + i]


@kernel
def part_sums(rotated, assigned, starts, sums, counts):  # type: ignore[no-untyped-def]
    """Add each row's parts to the float64 sums of the codewords they are assigned to (one k-means step)."""
    for r in range(rotated.shape[0]):
        for p in range(starts.shape[0] - 1):
            first = starts[p]
            length = starts[p + 1] - first
            word = assigned[r, p]
            base = CODEWORDS * first + word * length
            for i in range(length):
                sums[base + i] += rotated[r, first + i]
            counts[p, word] += 1
