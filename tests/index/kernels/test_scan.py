"""A shuffle that mixes up lanes or overflows a sum would rank the wrong vectors, fast.

By vector instructions, by the plain loop and by NumPy the scores must be the same, for any number of
rows, any stride, and in lanes that hold another block's bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.scan import (
    BYTE_TABLE_BYTES,
    LANES,
    MAX_BLOCK_ROWS,
    TABLE_BYTES,
    fill_byte_tables,
    fill_tables,
    lookup_one,
    plain_block,
    score_block,
    score_bytes,
    score_factored,
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


def scores_of(
    score: Any, codes: int, stride: int, rows: int, tables: Bytes, constants: Bytes, limit: float
) -> tuple[NDArray[np.float32], int]:
    """(32 scores, bits below ``limit``) by one of the two ways; nothing is written beside the scores."""
    found = np.full(LANES + 2, 77, np.float32)
    below = score(
        codes, stride, rows, tables.ctypes.data, constants.ctypes.data,
        np.float32(-3.25), np.float32(1.5), np.float32(0.375), np.float32(limit), found[1:].ctypes.data,
    )  # fmt: skip
    assert found[0] == found[-1] == 77
    return found[1:-1], below


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(0, 2 * MAX_BLOCK_ROWS + 3), st.integers(1, 70), st.booleans(), st.integers(0, 3))
def test_every_way_to_score_agrees(seed: int, rows: int, stride: int, extremes: bool, shift: int) -> None:
    codes, halves, tables = block(seed, rows, stride, extremes)
    unaligned = np.empty(len(codes) + shift, np.uint8)
    unaligned[shift:] = codes
    address = unaligned.ctypes.data + shift
    sums = lane_sums(codes, stride, rows, halves)
    constants = np.random.default_rng(seed + 1).integers(0, 256, LANES).astype(np.uint8)
    expected = -3.25 + 1.5 * constants + 0.375 * sums  # all of it exact in float32
    limit = float(np.median(expected))
    for score in (score_block, plain_block):
        scores, below = scores_of(score, address, stride, rows, tables, constants, limit)
        assert (scores == expected).all()
        assert below == sum(1 << lane for lane in range(LANES) if expected[lane] < limit)
    ones = [lookup_one(address + lane, stride, rows, tables.ctypes.data) for lane in range(LANES)]
    assert ones == sums.tolist()


@pytest.mark.parametrize("rows", [MAX_BLOCK_ROWS, 2 * MAX_BLOCK_ROWS, 4 * MAX_BLOCK_ROWS])
def test_the_largest_entries_do_not_overflow(rows: int) -> None:
    codes, _, tables = block(0, rows, LANES, extremes=True)
    constants = np.zeros(LANES, np.uint8)
    for score in (score_block, plain_block):
        scores, below = scores_of(score, codes.ctypes.data, LANES, rows, tables, constants, np.inf)
        assert (scores == -3.25 + 0.375 * 2 * 255 * rows).all()
        assert below == 2**LANES - 1


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


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 150), st.integers(1, 32))
def test_codes_of_a_byte_a_part(seed: int, rows: int, stride: int) -> None:
    random = np.random.default_rng(seed)
    readable = random.integers(0, 256, (rows + 1) * stride + LANES).astype(np.uint8)
    codes = readable[: (rows + 1) * stride].reshape(rows + 1, stride)
    entries = random.integers(0, 256, (rows, BYTE_TABLE_BYTES)).astype(np.uint8)
    constants = codes[-1]
    found = np.empty(LANES, np.float32)
    sums = entries[np.arange(rows)[:, None], codes[:-1]].sum(axis=0, dtype=np.int64)
    expected = -3.25 + 1.5 * constants + 0.375 * sums
    limit = float(np.median(expected))
    below = score_bytes(
        codes.ctypes.data, stride, rows, entries.ctypes.data, constants.ctypes.data, np.float32(-3.25),
        np.float32(1.5), np.float32(0.375), np.float32(limit), found.ctypes.data,
    )  # fmt: skip
    assert (found[:stride] == expected).all()
    mine = below & ((1 << stride) - 1)
    assert mine == sum(1 << lane for lane in range(stride) if expected[lane] < limit)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 2 * MAX_BLOCK_ROWS), st.integers(1, 32))
def test_sums_that_count_times_a_factor(seed: int, rows: int, stride: int) -> None:
    codes, halves, tables = block(seed, rows + 2, stride, extremes=False)
    sums = lane_sums(codes, stride, rows, halves[:rows], stride)
    factors = codes[rows * stride : (rows + 1) * stride]
    constants = codes[(rows + 1) * stride : (rows + 2) * stride]
    found = np.empty(LANES, np.float32)
    expected = (-3.25 + 1.5 * constants) + (0.5 + 0.25 * factors) * (-8.0 + 0.125 * sums)
    limit = float(np.median(expected))
    below = score_factored(
        codes.ctypes.data, stride, rows, tables.ctypes.data, np.float32(-3.25), np.float32(1.5),
        np.float32(-8.0), np.float32(0.125), np.float32(0.5), np.float32(0.25), np.float32(limit), found,
    )  # fmt: skip
    assert found[:stride] == pytest.approx(expected, rel=1e-6)
    mask = (1 << stride) - 1
    assert below & mask == sum(1 << lane for lane in range(stride) if found[lane] < np.float32(limit))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.integers(1, 6), min_size=1, max_size=9))
def test_tables_of_a_byte_a_part(seed: int, lengths: list[int]) -> None:
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    words = [random.standard_normal((256, length)).astype(np.float32) for length in lengths]
    query = continuous(seed, 1, sum(lengths))[0]
    tables = np.full(256 * len(lengths), 9, np.uint8)
    flat = np.concatenate([part.ravel() for part in words])
    base, step = fill_byte_tables(query, starts, flat, np.empty(256 * len(lengths), np.float32), tables)
    terms = np.stack(
        [
            -2 * part.astype(np.float64) @ query[first:last]
            for part, first, last in zip(words, starts[:-1], starts[1:], strict=True)
        ]
    )
    least = terms.min(axis=1, keepdims=True)
    assert base == pytest.approx(float(least.sum()), rel=1e-4)
    assert tables.max() == 255
    assert np.abs(tables.reshape(-1, 256) * step - (terms - least)).max() <= 0.501 * step + 1e-5


def test_parts_may_go_over_the_dimensions_again() -> None:
    """As those of numbers in pieces do: part 3 covers the first dimension once more."""
    query = continuous(5, 1, 3)[0]
    starts = np.array([0, 1, 2, 3, 4, 6], np.int32)
    words = continuous(6, 1, 16 * 6)[0]
    tables, values = np.zeros(3 * TABLE_BYTES, np.uint8), np.empty(80, np.float32)
    base, step = fill_tables(query, starts, words, True, values, tables)
    entries = tables.reshape(-1, 2, 2, 16)[:, :, 0].reshape(-1, 16)
    for part, dims in enumerate([[0], [1], [2], [0], [1, 2]]):
        first = 16 * starts[part]
        mine = words[first : first + 16 * len(dims)].reshape(16, -1)
        terms = -2 * mine @ query[dims]
        assert np.abs(entries[part] * step - (terms - terms.min())).max() <= 0.51 * step
    assert base < 0
