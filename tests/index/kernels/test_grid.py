"""A bit in the wrong place, or a factor that is off, sends the estimates of a vector astray."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.code_families import grid_planes, plane_starts
from pageann.index.kernels.grid import factor_rows, grid_rows, pack_planes, unpack_planes
from tests.reference.vector_sets import SEEDS, continuous

BITS = st.integers(1, 8)


def coded(rows: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    numbers, factors = np.full(rows.shape, 255, np.uint8), np.empty(len(rows), np.float32)
    grid_rows(rows, bits, numbers, factors)
    return numbers, factors


def planes(bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sizes, shifts = zip(*grid_planes(bits), strict=True)
    return np.array(sizes), np.array(shifts)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 40), BITS)
def test_codes_are_cut_into_parts_and_put_together(seed: int, dim: int, bits: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, (5, dim)).astype(np.uint8)
    starts = plane_starts(grid_planes(bits), dim)
    codes = np.full((5, len(starts) // 2 + 1), 0, np.uint8)
    codes[:, -1] = 77
    pack_planes(numbers, *planes(bits), codes)
    assert (codes[:, -1] == 77).all(), "what lies behind the parts is left alone"
    again = np.full_like(numbers, 9)
    unpack_planes(codes, *planes(bits), again)
    assert (again == numbers).all()
    written = np.stack([codes & 15, codes >> 4], axis=2).reshape(5, -1)
    part = 0
    for size, shift in zip(*planes(bits), strict=True):
        for first in range(0, dim, 4 // size):
            piece = (numbers[:, first : first + 4 // size].astype(np.int64) >> shift) & ((1 << size) - 1)
            assert (written[:, part] == (piece << (size * np.arange(piece.shape[1]))).sum(axis=1)).all()
            part += 1
    assert part == len(starts) - 1


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 30), BITS)
def test_what_a_code_misses_is_at_a_right_angle(seed: int, dim: int, bits: int) -> None:
    rows = continuous(seed, 6, dim) * np.float32(50)
    numbers, factors = coded(rows, bits)
    assert numbers.max() < 1 << bits
    stood_for = np.empty_like(rows)
    factor_rows(numbers, bits, factors, stood_for)
    wide = rows.astype(np.float64)
    expected = factors[:, None].astype(np.float64) * (numbers + 0.5 - 2.0 ** (bits - 1))
    assert stood_for == pytest.approx(expected, rel=1e-5)
    products = np.einsum("ij,ij->i", wide, expected)
    assert products == pytest.approx(np.square(wide).sum(axis=1), rel=1e-3)


def test_the_more_bits_the_smaller_the_error() -> None:
    rows = continuous(3, 500, 64)
    shares = []
    for bits in range(1, 9):
        numbers, factors = coded(rows, bits)
        stood_for = np.empty_like(rows)
        factor_rows(numbers, bits, factors, stood_for)
        shares.append(float(np.square(rows - stood_for).sum() / np.square(rows).sum()))
    assert 0.5 < shares[0] < 0.62, "pi / 2 - 1 for one bit of normal elements"
    assert shares[1] < 0.145, (
        "near the 0.1188 of the best quantiser of 2 bits, made larger by the right angle"
    )
    for more, fewer in zip(shares[1:], shares[:-1], strict=True):
        assert more < 0.4 * fewer


def test_a_better_grid_is_not_to_be_found_by_trying_more() -> None:
    """Within 2 % of the cosine of 400 grids."""
    rows = continuous(4, 50, 32)
    numbers, _ = coded(rows, 3)
    grids = numbers + 0.5 - 4
    found = (grids * rows).sum(axis=1) / np.linalg.norm(grids, axis=1)
    best = np.zeros(len(rows))
    for share in np.linspace(0.1, 1.2, 400):
        step = share * np.abs(rows).max(axis=1, keepdims=True) / 4
        tried = np.clip(np.floor(rows / step), -4, 3) + 0.5
        best = np.maximum(best, (tried * rows).sum(axis=1) / np.linalg.norm(tried, axis=1))
    assert (found >= 0.98 * best).all()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_rows_of_zeros_stand_for_zeros(bits: int) -> None:
    rows = np.zeros((2, 5), np.float32)
    numbers, factors = coded(rows, bits)
    assert not factors.any()
    stood_for = np.ones_like(rows)
    factor_rows(numbers, bits, factors, stood_for)
    assert not stood_for.any()
