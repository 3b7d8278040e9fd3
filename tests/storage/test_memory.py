"""A view of the wrong type, length or place would read a neighbour's bytes, and nothing would notice.

Every view and every single load and store of :mod:`pageann.storage.memory` is held against NumPy, the
loads and stores at addresses without alignment.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from pageann.storage import memory

VIEWS = ["u8", "i8", "u16", "i64", "f32"]


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_shows_and_changes_its_bytes(name: str) -> None:
    view = getattr(memory, f"view_{name}")

    @numba.njit
    def copy_and_clear(address: int, out: Any) -> int:
        source = view(address, out.size)
        for place in range(out.size):
            out[place] = source[place]
            source[place] = 0
        return source.size

    dtype = np.dtype(f"{name[0]}{int(name[1:]) // 8}")
    raw = np.random.default_rng(1).integers(0, 256, 1024, np.uint8)
    before = raw.copy()
    out = np.zeros(13, dtype)
    assert copy_and_clear(raw.ctypes.data + 64, out) == 13
    assert out.tobytes() == before[64 : 64 + out.nbytes].tobytes()
    assert not raw[64 : 64 + out.nbytes].any()
    raw[64 : 64 + out.nbytes] = before[64 : 64 + out.nbytes]
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_a_load_reads_unsigned_at_any_address(bits: int) -> None:
    load = getattr(memory, f"load_u{bits}")

    @numba.njit
    def fetch(address: int) -> Any:
        return load(address)

    raw = np.random.default_rng(2).integers(128, 256, 64, np.uint8)
    for offset in range(9):
        expected = int.from_bytes(raw[offset : offset + bits // 8].tobytes(), "little")
        assert int(fetch(raw.ctypes.data + offset)) == expected


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_store_writes_its_bytes_and_no_more(bits: int) -> None:
    store = getattr(memory, f"store_u{bits}")
    number = np.dtype(f"u{bits // 8}").type

    @numba.njit
    def put(address: int, value: Any) -> None:
        store(address, value)

    value = 0xFEDCBA9876543210 & (2**bits - 1)
    for offset in range(9):
        raw = np.full(64, 7, np.uint8)
        put(raw.ctypes.data + offset, number(value))
        expected = np.full(64, 7, np.uint8)
        expected[offset : offset + bits // 8] = np.frombuffer(value.to_bytes(bits // 8, "little"), np.uint8)
        np.testing.assert_array_equal(raw, expected)


@pytest.mark.parametrize("distance", [-5, -1, 0, 1, 7, 40])
def test_bytes_move_whole_where_both_ranges_overlap(distance: int) -> None:
    @numba.njit
    def move(destination: int, source: int, nbytes: int) -> None:
        memory.move_bytes(destination, source, nbytes)

    raw = np.random.default_rng(3).integers(0, 256, 256, np.uint8)
    expected = raw.copy()
    expected[100 + distance : 133 + distance] = raw[100:133]
    move(raw.ctypes.data + 100 + distance, raw.ctypes.data + 100, 33)
    np.testing.assert_array_equal(raw, expected)
    move(raw.ctypes.data, raw.ctypes.data + 9, 0)
    np.testing.assert_array_equal(raw, expected)
