"""CRC32C (Castagnoli) within kernels, which check each page that a search reads.

Where the processor has the SSE 4.2 instruction, three streams run interleaved, because the
instruction takes three cycles and a new one may start each cycle; the streams are then joined by
multiplying the checksum with a power of x, which is four table look-ups. Elsewhere a table
consumes eight bytes a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from pageann.jit import has_cpu_feature, kernel
from pageann.storage.checksum import POLYNOMIAL, multiply, power_of_x
from pageann.storage.memory import Code, load_u8, load_u64, typed_intrinsic

__all__ = ["HARDWARE", "crc32c_address"]

HARDWARE = has_cpu_feature("sse4.2")
"""Whether checksums use the processor's instruction."""

_LONG_BYTES = 1360  # three of them are all but 8 of the bytes that the checksum of a 4 KiB page covers
_SHORT_BYTES = 256


def _shift_table(nbytes: int) -> NDArray[np.uint32]:
    """What ``nbytes`` zero bytes make of a checksum: uint32[4, 256], one row for each of its bytes."""
    factor = power_of_x(8 * nbytes)
    bits = np.array([multiply(factor, 1 << bit) for bit in range(32)], np.uint32)
    byte = np.arange(256)
    table = np.zeros((4, 256), np.uint32)
    for bit in range(32):
        table[bit // 8] ^= np.where(byte >> (bit % 8) & 1, bits[bit], np.uint32(0)).astype(np.uint32)
    return table


def _slicing_table() -> NDArray[np.uint32]:
    """uint32[8, 256]: the checksum of a byte that ``row`` zero bytes follow."""
    table = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table[0, byte] = crc
    for row in range(1, 8):
        table[row] = (table[row - 1] >> 8) ^ table[0, table[row - 1] & 0xFF]
    return table


_LONG_SHIFT = _shift_table(_LONG_BYTES)
_SHORT_SHIFT = _shift_table(_SHORT_BYTES)
_SLICES = _slicing_table()


@typed_intrinsic
def _crc32_u64(typing_context: Any, crc: Any, word: Any) -> Code:
    """The instruction: ``crc`` (uint64, low half used) extended by the eight bytes of ``word``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word_type = ir.IntType(64)
        function_type = ir.FunctionType(word_type, [word_type, word_type])
        function = builder.module.declare_intrinsic("llvm.x86.sse42.crc32.64.64", (), function_type)
        return builder.call(function, arguments)

    return types.uint64(types.uint64, types.uint64), generate


@kernel
def _shift(table: NDArray[np.uint32], crc: Any) -> Any:
    """``crc`` (uint64) after the number of zero bytes that ``table`` was made for."""
    low = table[0, crc & np.uint64(0xFF)] ^ table[1, (crc >> np.uint64(8)) & np.uint64(0xFF)]
    high = (
        table[2, (crc >> np.uint64(16)) & np.uint64(0xFF)]
        ^ table[3, (crc >> np.uint64(24)) & np.uint64(0xFF)]
    )
    return np.uint64(low ^ high)


@kernel
def _extend_bytes(crc: Any, address: int, nbytes: int) -> Any:
    """Extend the inverted ``crc`` (uint64) byte by byte."""
    for position in range(nbytes):
        byte = (crc ^ np.uint64(load_u8(address + position))) & np.uint64(0xFF)
        crc = (crc >> np.uint64(8)) ^ np.uint64(_SLICES[0, byte])
    return crc


@kernel
def _extend_three(crc: Any, address: int, block_bytes: int, table: NDArray[np.uint32]) -> Any:
    """Extend the inverted ``crc`` by three neighbouring blocks, side by side."""
    second = np.uint64(0)
    third = np.uint64(0)
    for word in range(block_bytes >> 3):
        at = address + 8 * word
        crc = _crc32_u64(crc, load_u64(at))
        second = _crc32_u64(second, load_u64(at + block_bytes))
        third = _crc32_u64(third, load_u64(at + 2 * block_bytes))
    return _shift(table, _shift(table, crc) ^ second) ^ third


@kernel
def _extend_hardware(value: Any, address: int, nbytes: int) -> Any:
    """``value`` extended by ``nbytes`` at ``address``, by instruction."""
    crc = np.uint64(~np.uint32(value) & np.uint32(0xFFFFFFFF))
    while nbytes >= 3 * _LONG_BYTES:
        crc = _extend_three(crc, address, _LONG_BYTES, _LONG_SHIFT)
        address += 3 * _LONG_BYTES
        nbytes -= 3 * _LONG_BYTES
    while nbytes >= 3 * _SHORT_BYTES:
        crc = _extend_three(crc, address, _SHORT_BYTES, _SHORT_SHIFT)
        address += 3 * _SHORT_BYTES
        nbytes -= 3 * _SHORT_BYTES
    while nbytes >= 8:
        crc = _crc32_u64(crc, load_u64(address))
        address += 8
        nbytes -= 8
    return np.uint32(~np.uint32(_extend_bytes(crc, address, nbytes)))


@kernel
def _extend_table(value: Any, address: int, nbytes: int) -> Any:
    """``value`` extended by ``nbytes`` at ``address``, by table."""
    crc = np.uint64(~np.uint32(value) & np.uint32(0xFFFFFFFF))
    byte = np.uint64(0xFF)
    while nbytes >= 8:
        word = crc ^ load_u64(address)
        low = _SLICES[7, word & byte] ^ _SLICES[6, (word >> np.uint64(8)) & byte]
        low ^= _SLICES[5, (word >> np.uint64(16)) & byte] ^ _SLICES[4, (word >> np.uint64(24)) & byte]
        high = _SLICES[3, (word >> np.uint64(32)) & byte] ^ _SLICES[2, (word >> np.uint64(40)) & byte]
        high ^= _SLICES[1, (word >> np.uint64(48)) & byte] ^ _SLICES[0, (word >> np.uint64(56)) & byte]
        crc = np.uint64(low ^ high)
        address += 8
        nbytes -= 8
    return np.uint32(~np.uint32(_extend_bytes(crc, address, nbytes)))


# Chosen before anything is compiled: LLVM aborts the process on an instruction that is not there.
_extend = _extend_hardware if HARDWARE else _extend_table


@kernel
def crc32c_address(address: int, nbytes: int) -> Any:
    """The checksum (uint32) of ``nbytes`` at ``address``."""
    return _extend(np.uint32(0), np.int64(address), np.int64(nbytes))
