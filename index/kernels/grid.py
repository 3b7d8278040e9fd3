"""Numbers of a few bits for every dimension: coding them, and what they stand for."""

from __future__ import annotations

import numpy as np

from pageann.jit import FAST, kernel

__all__ = ["factor_rows", "grid_rows", "pack_planes", "unpack_planes"]

_SCALES = 16
"""Widths of the grid that are tried for a vector: with more, 2-bit codes err less by 1 % at most."""
_NARROWEST = np.float32(0.3)
"""Of those, as a share of the largest element."""


@kernel(fastmath=FAST)
def grid_rows(rotated, bits, numbers, factors):  # type: ignore[no-untyped-def]
    """Numbers uint8 (rows, dim) of ``bits`` bits, and a factor float32 (rows,) each, of rotated rows.

    With g = number + 1/2 - 2^(bits - 1), the numbers are those, of the grids tried, with the greatest cosine
    between g and the row x. The factor is |x|^2 / <g, x>, so that what the code stands for, factor times g,
    misses x at a right angle (Gao, Long, SIGMOD 2024; Gao et al., SIGMOD 2025).
    """
    half = np.float32(1 << (bits - 1))
    most = np.float32((1 << bits) - 1)
    dim = rotated.shape[1]
    for r in range(rotated.shape[0]):
        largest = np.float32(0)
        square = np.float32(0)
        for i in range(dim):
            largest = max(largest, abs(rotated[r, i]))
            square += rotated[r, i] * rotated[r, i]
        best = np.float32(-1)
        best_inverse = np.float32(0)
        best_product = np.float32(1)
        scales = _SCALES if bits > 1 else 1
        for s in range(scales):
            share = _NARROWEST + (np.float32(1) - _NARROWEST) * np.float32(s + 1) / np.float32(scales)
            inverse = half / (share * largest) if largest > 0 else np.float32(0)
            product = np.float32(0)
            norm = np.float32(0)
            for i in range(dim):
                number = np.floor(rotated[r, i] * inverse) + half
                g = max(np.float32(0), min(number, most)) + np.float32(0.5) - half
                product += g * rotated[r, i]
                norm += g * g
            cosine = product / np.sqrt(norm)
            if cosine > best:
                best = cosine
                best_inverse = inverse
                best_product = product
        for i in range(dim):
            number = np.floor(rotated[r, i] * best_inverse) + half
            numbers[r, i] = np.uint8(max(np.float32(0), min(number, most)))
        factors[r] = square / best_product if best_product > 0 else np.float32(0)


@kernel
def factor_rows(numbers, bits, factors, rotated):  # type: ignore[no-untyped-def]
    """What numbers and factors stand for, float32 (rows, dim)."""
    middle = np.float32(1 << (bits - 1)) - np.float32(0.5)
    for r in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            rotated[r, i] = factors[r] * (np.float32(numbers[r, i]) - middle)


@kernel
def pack_planes(numbers, sizes, shifts, codes):  # type: ignore[no-untyped-def]
    """Numbers (rows, dim) as 4-bit parts, two a byte, into ``codes``, whose other bytes are left alone.

    For each plane in turn, its ``sizes`` bits of each number from bit ``shifts`` on; a part has those of as
    many dimensions as fit, the first of them lowest.
    """
    dim = numbers.shape[1]
    for r in range(numbers.shape[0]):
        part = 0
        for plane in range(sizes.shape[0]):
            size, shift = sizes[plane], shifts[plane]
            mask = (1 << size) - 1
            for first in range(0, dim, 4 // size):
                word = np.int64(0)
                for i in range(first, min(first + 4 // size, dim)):
                    word |= ((np.int64(numbers[r, i]) >> shift) & mask) << (size * (i - first))
                if part & 1:
                    codes[r, part >> 1] |= np.uint8(word << 4)
                else:
                    codes[r, part >> 1] = np.uint8(word)
                part += 1


@kernel
def unpack_planes(codes, sizes, shifts, numbers):  # type: ignore[no-untyped-def]
    """The numbers (rows, dim) that :func:`pack_planes` was given."""
    dim = numbers.shape[1]
    for r in range(numbers.shape[0]):
        part = 0
        for i in range(dim):
            numbers[r, i] = 0
        for plane in range(sizes.shape[0]):
            size, shift = sizes[plane], shifts[plane]
            mask = (1 << size) - 1
            for first in range(0, dim, 4 // size):
                word = np.int64(codes[r, part >> 1]) >> (4 * (part & 1))
                for i in range(first, min(first + 4 // size, dim)):
                    numbers[r, i] |= np.uint8(((word >> (size * (i - first))) & mask) << shift)
                part += 1
