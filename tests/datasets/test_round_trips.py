"""What is written in a format is read back bit for bit: in blocks, mapped, and row by row."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.datasets.source import open_any, open_vectors
from pageann.datasets.writers import write_vectors
from tests.datasets.strategies import vector_arrays

FIXED = {
    ".fbin": np.float32,
    ".f16bin": np.float16,
    ".i8bin": np.int8,
    ".u8bin": np.uint8,
    ".ibin": np.int32,
    ".fvecs": np.float32,
    ".bvecs": np.uint8,
    ".ivecs": np.int32,
}
ANY = (".npy", ".h5", ".hdf5", ".parquet", ".arrow", ".feather")


def assert_reads_back(path: Path, array: np.ndarray, block_rows: int) -> None:
    source = open_any(path)
    assert (source.rows, source.dim, source.dtype) == (*array.shape, array.dtype)
    starts, blocks = zip(*source.blocks(block_rows), strict=True)
    assert list(starts) == list(range(0, len(array), block_rows))
    assert all(block.flags.c_contiguous and block.dtype == array.dtype for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), array)
    mapped = source.mapped(path.parent)
    np.testing.assert_array_equal(mapped, array)
    assert mapped.strides[1] == array.itemsize or array.shape[1] == 1
    np.testing.assert_array_equal(mapped[::-1][0], array[-1])


@pytest.mark.parametrize("suffix", FIXED)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_formats_of_one_type(suffix: str, data: st.DataObject) -> None:
    array = data.draw(vector_arrays((FIXED[suffix],)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"vectors{suffix}"
        write_vectors(path, array)
        assert_reads_back(path, array, data.draw(st.integers(1, 14)))


@pytest.mark.parametrize("suffix", ANY)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_formats_of_any_type(suffix: str, data: st.DataObject) -> None:
    array = data.draw(vector_arrays())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"vectors{suffix}"
        write_vectors(path, array)
        assert_reads_back(path, array, data.draw(st.integers(1, 14)))


@settings(max_examples=15, deadline=None)
@given(array=vector_arrays(), block_rows=st.integers(1, 5))
def test_an_iterator_is_written_like_the_array(array: np.ndarray, block_rows: int) -> None:
    blocks = (array[start : start + block_rows] for start in range(0, len(array), block_rows))
    with tempfile.TemporaryDirectory() as folder:
        whole, streamed = Path(folder) / "whole.npy", Path(folder) / "streamed.npy"
        write_vectors(whole, array)
        write_vectors(streamed, blocks, *array.shape)
        assert whole.read_bytes() == streamed.read_bytes()


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_vectors(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_the_bytes_of_a_bin_and_a_vecs_file(tmp_path: Path) -> None:
    array = np.array([[1, 2], [3, 4]], np.uint8)
    write_vectors(tmp_path / "a.u8bin", array)
    write_vectors(tmp_path / "a.bvecs", array)
    assert (tmp_path / "a.u8bin").read_bytes() == bytes([2, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4])
    assert (tmp_path / "a.bvecs").read_bytes() == bytes([2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 3, 4])


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    write_vectors(tmp_path / "A.U8BIN", np.ones((2, 3), np.uint8))
    assert open_vectors(str(tmp_path / "A.U8BIN")).rows == 2


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    mapped = open_vectors(array).mapped(tmp_path)
    np.testing.assert_array_equal(mapped, array)
    assert list(tmp_path.iterdir()) == []
