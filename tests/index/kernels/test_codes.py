"""A code that decodes to another codeword than it was given sends every estimate astray.

Small whole numbers make every sum exact, so the kernels must agree with the twin to the bit.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.codes import assign_parts, decode_rows, encode_rows, part_sums
from tests.reference.code_twin import Codebook, codebook
from tests.reference.vector_sets import SEEDS, whole_numbers

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=9)


def rows_of(seed: int, count: int, book: Codebook) -> NDArray[np.float32]:
    return whole_numbers(seed, count, int(book.starts[-1]), np.float32, values=9) - np.float32(4)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 20), LENGTHS)
def test_codes_name_the_nearest_codewords(seed: int, count: int, lengths: list[int]) -> None:
    book = codebook(seed, lengths, whole=True)
    rows = rows_of(seed, count, book)
    assigned = np.full((count, len(lengths)), 99, np.uint8)
    assign_parts(rows, book.starts, 16, book.flat, assigned)
    assert (assigned == book.assign(rows)).all()
    codes = np.full((count, book.code_bytes), 255, np.uint8)
    encode_rows(rows, book.starts, book.flat, codes)
    assert (codes == book.pack(assigned)).all()


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 20), LENGTHS)
def test_decoding_gives_the_codewords(seed: int, count: int, lengths: list[int]) -> None:
    book = codebook(seed, lengths)
    codes = book.pack(np.random.default_rng(seed).integers(0, 16, (count, len(lengths))).astype(np.uint8))
    decoded = np.full((count, int(book.starts[-1])), np.nan, np.float32)
    decode_rows(codes, book.starts, 16, book.flat, decoded)
    assert (decoded == book.decode(codes)).all()
    again = np.empty_like(codes)
    encode_rows(decoded, book.starts, book.flat, again)
    assert (again == codes).all(), "a codeword is its own nearest"


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 30), LENGTHS)
def test_sums_of_a_k_means_step(seed: int, count: int, lengths: list[int]) -> None:
    book = codebook(seed, lengths, whole=True)
    rows = rows_of(seed, count, book)
    assigned = np.random.default_rng(seed).integers(0, 16, (count, len(lengths))).astype(np.uint8)
    sums = np.ones(len(book.flat))
    counts = np.ones((len(lengths), 16), np.int64)
    part_sums(rows, assigned, book.starts, sums, counts)
    parts = book.parts(rows)
    for p, (first, last) in enumerate(zip(book.starts[:-1], book.starts[1:], strict=True)):
        here = sums[16 * first : 16 * last].reshape(16, last - first)
        for word in range(16):
            members = parts[p][assigned[:, p] == word]
            assert (here[word] == 1 + members.sum(axis=0)).all()
            assert counts[p, word] == 1 + len(members)
