"""CRC32C (Castagnoli), the checksum of every byte on disk.

:func:`crc32c` is for Python, and :func:`crc32c_combine` joins the checksums of two neighbours without
reading them again. Kernels have a way of their own, ``checksum_kernels``. Where no pages are pinned, opening
an index calls none of them: to load the first one costs a process more time than all the rest of opening.
"""

from __future__ import annotations

import google_crc32c
import numpy as np

from pageann.storage.files import Buffer, flat_view

__all__ = ["POLYNOMIAL", "crc32c", "crc32c_combine", "multiply", "power_of_x"]

POLYNOMIAL = 0x82F63B78
"""Reflected: bit 31 stands for x^0."""


def multiply(left: int, right: int) -> int:
    """The product of two polynomials modulo the polynomial of CRC32C."""
    product = 0
    while left:
        if left & 0x80000000:
            product ^= right
        left = (left << 1) & 0xFFFFFFFF
        right = (right >> 1) ^ (POLYNOMIAL if right & 1 else 0)
    return product


def power_of_x(exponent: int) -> int:
    """x to the power of ``exponent``, modulo the polynomial."""
    result, square = 0x80000000, 0x40000000
    while exponent:
        if exponent & 1:
            result = multiply(square, result)
        square = multiply(square, square)
        exponent >>= 1
    return result


def crc32c(buffer: Buffer, value: int = 0) -> int:
    """The CRC32C of a buffer, or of what ``value`` is the checksum of followed by it.

    Any C-contiguous buffer will do, of any size; another one raises ValueError or TypeError.
    """
    # An array, for the library takes no other buffer that could be written to.
    return int(google_crc32c.extend(value, np.frombuffer(flat_view(buffer), np.uint8)))


def crc32c_combine(first: int, second: int, second_bytes: int) -> int:
    """The checksum of two neighbours, given the checksum of each and the length of the second."""
    return multiply(power_of_x(8 * second_bytes), first) ^ second
