"""A checksum that is wrong for some length, alignment or split would pass damage, or refuse sound files.

CRC32C is computed in five ways here: by a library, by instruction, by table, by joining two halves, and
bit by bit from the definition. All must agree, for every length around the block sizes of the fast path.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.storage import checksum_kernels
from pageann.storage.checksum import crc32c, crc32c_combine
from pageann.storage.checksum_kernels import crc32c_address

KNOWN = {
    b"": 0x00000000,
    b"a": 0xC1D04330,
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
}
BOUNDARIES = (8, 3 * 256, 3 * 1360, 3 * 1360 + 3 * 256, 2 * 3 * 1360)
LENGTHS = sorted(
    {0, 1, 2, 3, 4088, 4096, 5000} | {edge + d for edge in BOUNDARIES for d in range(-9, 10) if edge + d > 0}
)


def bitwise(data: bytes) -> int:
    """CRC32C from its definition, one bit a step."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "expected"), KNOWN.items())
def test_known_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
    assert bitwise(data) == expected


def test_every_length_around_the_block_sizes_agrees_with_the_definition() -> None:
    data = np.random.default_rng(1).integers(0, 256, max(LENGTHS), np.uint8)
    for length in LENGTHS:
        expected = bitwise(data[:length].tobytes())
        assert crc32c(data[:length]) == expected, length
        assert int(crc32c_address(data.ctypes.data, length)) == expected, length


def test_the_instruction_and_the_table_agree_at_every_alignment() -> None:
    data = np.random.default_rng(2).integers(0, 256, 9000, np.uint8)
    start = data.ctypes.data
    for offset in range(9):
        for length in LENGTHS:
            by_table = int(checksum_kernels._extend_table(np.uint32(0), start + offset, length))
            assert int(crc32c_address(start + offset, length)) == by_table, (offset, length)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=9000), st.integers(0, 9000))
def test_parts_extend_and_combine_to_the_whole(data: bytes, cut: int) -> None:
    first, second = data[:cut], data[cut:]
    assert crc32c(second, crc32c(first)) == crc32c(data)
    assert crc32c_combine(crc32c(first), crc32c(second), len(second)) == crc32c(data)


def test_any_contiguous_buffer_is_summed_by_its_bytes() -> None:
    array = np.arange(60, dtype=np.float16).reshape(3, 4, 5)
    expected = crc32c(array.tobytes())
    for buffer in (array, memoryview(array), bytearray(array.tobytes())):
        assert crc32c(buffer) == expected
    assert crc32c(np.zeros((0, 3)), 7) == 7
    with pytest.raises((TypeError, ValueError)):
        crc32c(array[:, ::2])


@pytest.mark.parametrize("plain", ["0", "1"])
def test_kernels_are_compiled_once_for_a_machine(tmp_path: Path, plain: str) -> None:
    """A kernel that misses the disk cache would cost every process its compilation again."""
    code = (
        "import numpy as np; from pageann.storage import checksum_kernels as c; "
        "data = np.frombuffer(b'123456789', np.uint8); "
        "print(c.crc32c_address(data.ctypes.data, 9), c.HARDWARE)"
    )
    environment = os.environ | {"PAGEANN_CACHE_DIR": str(tmp_path), "PAGEANN_PLAIN_KERNELS": plain}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    hardware = checksum_kernels.HARDWARE and plain == "0"
    assert [run.stdout for run in runs] == [f"{0xE3069283} {hardware}\n"] * 2
    assert "compiling kernels" in runs[0].stderr
    assert runs[1].stderr == ""
