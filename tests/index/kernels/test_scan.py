"""A shuffle that mixes up lanes or overflows a sum would rank the wrong vectors, fast.

By vector instructions, by the plain loop and by NumPy the sums must be the same, for any number of
rows, any stride, and in lanes that hold another block's bytes.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.scan import (
    LANES,
    MAX_BLOCK_ROWS,
    TABLE_BYTES,
    fill_tables,
    lookup_block,
    lookup_one,
    plain_block,
)
from tests.reference.code_twin import codebook, doubled_tables, lane_sums
from tests.reference.vector_sets import SEEDS, continuous

Bytes = NDArray[np.uint8]


def block(seed: int, rows: int, stride: int, extremes: bool) -> tuple[Bytes, Bytes, Bytes]:
    """Codes with 32 readable bytes behind the last row, the halves of tables, and the tables."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, rows * stride + LANES).astype(np.uint8)
    halves = random.integers(0, 256, (rows, 2, 16)).astype(np.uint8)
    if extremes:
        halves[:] = 255
    return codes, halves, doubled_tables(halves)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(0, MAX_BLOCK_ROWS), st.integers(1, 70), st.booleans(), st.integers(0, 3))
def test_every_way_to_sum_agrees(seed: int, rows: int, stride: int, extremes: bool, shift: int) -> None:
    codes, halves, tables = block(seed, rows, stride, extremes)
    unaligned = np.empty(len(codes) + shift, np.uint8)
    unaligned[shift:] = codes
    address = unaligned.ctypes.data + shift
    expected = lane_sums(codes, stride, rows, halves)
    for sum_block in (lookup_block, plain_block):
        sums = np.full(LANES + 2, 0xABCD, np.uint16)
        sum_block(address, stride, rows, tables.ctypes.data, sums[1:].ctypes.data)
        assert (sums[1:-1] == expected).all()
        assert sums[0] == sums[-1] == 0xABCD, "nothing is written beside the sums"
    ones = [lookup_one(address + lane, stride, rows, tables.ctypes.data) for lane in range(LANES)]
    assert ones == expected.tolist()


def test_the_most_rows_with_the_largest_entries_do_not_overflow() -> None:
    codes, _, tables = block(0, MAX_BLOCK_ROWS, LANES, extremes=True)
    for sum_block in (lookup_block, plain_block):
        sums = np.zeros(LANES, np.uint16)
        sum_block(codes.ctypes.data, LANES, MAX_BLOCK_ROWS, tables.ctypes.data, sums.ctypes.data)
        assert (sums == 2 * 255 * MAX_BLOCK_ROWS).all()


def filled(
    query: NDArray[np.float32], lengths: list[int], seed: int, inner: bool, spare: int
) -> tuple[float, float, Bytes]:
    book = codebook(seed, lengths)
    tables = np.full((book.code_bytes + spare) * TABLE_BYTES, 77, np.uint8)
    values = np.empty(16 * len(lengths), np.float32)
    base, step = fill_tables(query, book.starts, book.flat, inner, values, tables)
    return float(base), float(step), tables.reshape(-1, 2, 2, 16)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.lists(st.integers(1, 6), min_size=1, max_size=9), st.booleans(), st.integers(0, 2))
def test_estimates_err_by_half_a_step_a_part_at_most(
    seed: int, lengths: list[int], inner: bool, spare: int
) -> None:
    book = codebook(seed, lengths)
    query = continuous(seed, 1, sum(lengths))[0] * np.float32(3)
    base, step, tables = filled(query, lengths, seed, inner, spare)
    assert (tables[:, :, 0] == tables[:, :, 1]).all(), "each half stands twice"
    entries = tables[:, :, 0].reshape(-1, 16)
    parts = len(lengths)
    assert not entries[parts:].any(), "parts that are not there add nothing"
    assert entries[:parts].max() == 255
    terms = book.terms(query, inner)
    rounding = 1e-5 * float(np.abs(terms).max())
    least = terms.min(axis=1, keepdims=True)
    assert base == pytest.approx(float(least.sum()), abs=rounding * parts)
    assert np.abs(entries[:parts] * step - (terms - least)).max() <= step / 2 + rounding
    codes = book.pack(np.random.default_rng(seed).integers(0, 16, (40, parts)).astype(np.uint8))
    numbers = book.unpack(codes)
    exact = terms[np.arange(parts), numbers].sum(axis=1)
    sums = entries[np.arange(parts), numbers].astype(np.int64).sum(axis=1)
    assert np.abs(base + step * sums - exact).max() <= parts * (step / 2 + 2 * rounding)


@pytest.mark.parametrize("inner", [False, True])
def test_a_query_that_cannot_tell_codewords_apart_has_empty_tables(inner: bool) -> None:
    book = codebook(1, [2, 3, 1])
    for part in book.words:
        part[:] = part[:1]
    query = continuous(1, 1, 6)[0]
    tables = np.full(2 * TABLE_BYTES, 9, np.uint8)
    base, step = fill_tables(query, book.starts, book.flat, inner, np.empty(48, np.float32), tables)
    assert step == 0
    assert not tables.any()
    assert base == pytest.approx(float(book.terms(query, inner)[:, 0].sum()), rel=1e-5)
