"""Arrays, buffers, lists and iterators open like files, and keep their values."""

from __future__ import annotations

import array as standard_array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.datasets.source import VectorSource, open_vectors
from pageann.errors import InvalidArgument, InvalidData
from tests.datasets.strategies import vector_arrays

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)


class _Wrapped:
    """An object that offers an array only through ``__array__``."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return ARRAY


def test_an_array_is_not_copied() -> None:
    assert np.shares_memory(open_vectors(ARRAY).mapped(None), ARRAY)


def test_an_array_cannot_be_written_through_the_source() -> None:
    own = ARRAY.copy()
    mapped = open_vectors(own).mapped(None)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 1
    own[0, 0] = 5  # the caller's own array stays writable
    assert mapped[0, 0] == 5


@pytest.mark.parametrize(
    "given_array",
    [
        pytest.param(memoryview(ARRAY), id="memoryview"),
        pytest.param(_Wrapped(), id="__array__"),
        pytest.param(ARRAY.tolist(), id="lists of floats"),
        pytest.param(tuple(map(tuple, ARRAY.tolist())), id="tuples"),
        pytest.param(list(ARRAY), id="list of arrays"),
        pytest.param(np.asfortranarray(ARRAY), id="Fortran order"),
        pytest.param(np.repeat(ARRAY, 2, axis=1)[:, ::2], id="every other column"),
        pytest.param(ARRAY[::-1][::-1], id="view"),
        pytest.param(ARRAY.astype(">f4"), id="big-endian"),
        pytest.param(ARRAY.astype(np.float64), id="float64"),
        pytest.param(
            np.frombuffer(b"x" + ARRAY.tobytes(), np.float32, offset=1).reshape(4, 3), id="unaligned"
        ),
    ],
)
def test_whatever_holds_vectors(given_array: Any, tmp_path: Path) -> None:
    source = open_vectors(given_array)
    assert (source.rows, source.dim, source.dtype, source.ids) == (4, 3, np.float32, None)
    np.testing.assert_array_equal(np.concatenate([block for _, block in source.blocks(3)]), ARRAY)
    mapped = source.mapped(tmp_path)
    np.testing.assert_array_equal(mapped, ARRAY)
    assert mapped.flags.aligned
    assert mapped.strides[1] == 4


@pytest.mark.parametrize(
    "flat",
    [ARRAY.astype(np.uint8).tobytes(), bytearray(range(12)), standard_array.array("B", range(12))],
    ids=["bytes", "bytearray", "array.array"],
)
def test_a_flat_buffer_is_cut_by_dim(flat: Any) -> None:
    np.testing.assert_array_equal(open_vectors(flat, dim=3).mapped(None), ARRAY.astype(np.uint8))
    with pytest.raises(InvalidArgument, match=r"vectors: has shape \(12,\)"):
        open_vectors(flat)
    with pytest.raises(InvalidArgument, match=r"vectors: has shape \(12,\)"):
        open_vectors(flat, dim=5)


def test_a_source_is_taken_as_it_is() -> None:
    source = open_vectors(ARRAY)
    assert open_vectors(source) is source


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1.0, 2.0], [3.0]], "cannot be read as an array of numbers"),
        ([[1, 2], [3, 4]], "type int64 are not supported; convert them to one of float32"),
        ([["a"]], "not numbers"),
        ([[None]], "not numbers"),
        (np.ones((2, 2), complex), "not numbers"),
        (np.ones((2, 2, 2), np.float32), r"has shape \(2, 2, 2\)"),
        (np.float32(1), r"has shape \(\)"),
        (object(), "not numbers"),
        (np.ma.masked_array(ARRAY, ARRAY > 5), "masked"),
    ],
)
def test_refused(bad: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"vectors: .*{message}"):
        open_vectors(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_float64_that_is_no_finite_float32_names_the_row(value: float) -> None:
    array = ARRAY.astype(np.float64)
    array[3, 0] = value
    with pytest.raises(InvalidData, match=r"vectors: row 3 holds .*no finite float32"):
        list(open_vectors(array).blocks(2))


@settings(max_examples=30, deadline=None)
@given(array=vector_arrays(), sizes=st.lists(st.integers(0, 4)), block_rows=st.integers(1, 14))
def test_blocks_of_any_size_are_regrouped(array: np.ndarray, sizes: list[int], block_rows: int) -> None:
    cuts = [*np.minimum(np.cumsum([0, *sizes]), len(array)).tolist(), len(array)]
    pieces = (array[low:high] for low, high in pairwise(cuts))
    found = list(open_vectors(pieces, rows=array.shape[0], dim=array.shape[1]).blocks(block_rows))
    assert [start for start, _ in found] == list(range(0, len(array), block_rows))
    np.testing.assert_array_equal(np.concatenate([block for _, block in found]), array)


def pieces(*rows: int) -> Iterator[np.ndarray]:
    return (ARRAY[:count] for count in rows)


def test_an_iterator_can_be_mapped_and_then_read_again() -> None:
    source = open_vectors(iter([ARRAY[:1], ARRAY[1:]]), rows=4, dim=3)
    np.testing.assert_array_equal(source.mapped(None), ARRAY)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([block for _, block in source.blocks(3)]), ARRAY)


def test_an_iterator_of_single_vectors() -> None:
    np.testing.assert_array_equal(open_vectors(iter(ARRAY), rows=4, dim=3).mapped(None), ARRAY)


def test_an_iterator_of_float64_blocks() -> None:
    source = open_vectors(iter([ARRAY.astype(float)]), rows=4, dim=3)
    np.testing.assert_array_equal(source.mapped(None), ARRAY)


def test_an_iterator_is_read_once() -> None:
    source = open_vectors(pieces(4), rows=4, dim=3)
    list(source.blocks(2))
    with pytest.raises(InvalidArgument, match="read only once"):
        list(source.blocks(2))


@pytest.mark.parametrize(("rows", "dim"), [(None, 3), (4, None), (None, None)])
def test_an_iterator_needs_its_shape(rows: int | None, dim: int | None) -> None:
    with pytest.raises(InvalidArgument, match="pass rows= and dim="):
        open_vectors(pieces(4), rows=rows, dim=dim)


@pytest.mark.parametrize(
    ("given_pieces", "message"),
    [
        ([], "gave no block"),
        ([ARRAY[:3]], "4 rows were stated, but 3 came"),
        ([ARRAY, ARRAY], "4 rows were stated, but at least 8 came"),
        ([ARRAY[:2], ARRAY[:2, :2]], r"block at row 2 has shape \(2, 2\); \(rows, 3\) was stated"),
        ([ARRAY[:2], ARRAY[:2].astype(np.float16)], "block at row 2 is float16, the first one was float32"),
    ],
)
def test_iterators_that_break_their_word(given_pieces: list[np.ndarray], message: str) -> None:
    def read() -> VectorSource:
        source = open_vectors(iter(given_pieces), rows=4, dim=3)
        source.mapped(None)
        return source

    with pytest.raises(InvalidData, match=message):
        read()
