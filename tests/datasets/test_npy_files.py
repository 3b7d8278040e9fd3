"""All versions and orders of .npy are read from the header; pickles are never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument, InvalidData

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)


def save(path: Path, array: np.ndarray, version: tuple[int, int] = (1, 0)) -> Path:
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version)
    return path


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions(tmp_path: Path, version: tuple[int, int]) -> None:
    source = open_vectors(save(tmp_path / "a.npy", ARRAY, version))
    np.testing.assert_array_equal(source.mapped(None), ARRAY)


@pytest.mark.parametrize("dtype", [">f4", ">f2", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_byte_order_and_float64_are_converted(tmp_path: Path, dtype: str, order: Any) -> None:
    source = open_vectors(save(tmp_path / "a.npy", np.array(ARRAY, dtype, order=order)))
    assert source.dtype == (np.float16 if dtype == ">f2" else np.float32)
    assert source.dtype.isnative
    for array in (source.mapped(tmp_path), np.concatenate([block for _, block in source.blocks(3)])):
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, ARRAY)


def test_fortran_order_is_read_in_blocks_before_it_is_mapped(tmp_path: Path) -> None:
    source = open_vectors(save(tmp_path / "a.npy", np.asfortranarray(ARRAY)))
    np.testing.assert_array_equal(np.concatenate([block for _, block in source.blocks(3)]), ARRAY)


def test_float64_too_large_for_float32_names_the_row(tmp_path: Path) -> None:
    array = ARRAY.astype(np.float64)
    array[2, 1] = 1e300
    source = open_vectors(save(tmp_path / "a.npy", array))
    with pytest.raises(InvalidData, match=r"a\.npy: row 2 holds 1e\+300, which is no finite float32"):
        source.mapped(tmp_path)


class _Bomb:
    """Fails the test if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


def test_pickled_objects_are_refused_unloaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[_Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidData, match=r"a\.npy: holds pickled Python objects"):
        open_vectors(tmp_path / "a.npy")


def test_truncated_and_overlong(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.npy", ARRAY).read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-1])
    (tmp_path / "long.npy").write_bytes(whole + b"x")
    with pytest.raises(
        InvalidData, match=r"short\.npy: .*4 x 3 float32.* = 176 bytes but has 175: truncated"
    ):
        open_vectors(tmp_path / "short.npy")
    with pytest.raises(InvalidData, match=r"long\.npy: .* = 176 bytes but has 177: too long"):
        open_vectors(tmp_path / "long.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 a zip file", "does not start like a .npy file"),
        (b"\x93NUM", "does not start like"),
        (b"\x93NUMPY\x09\x00\x10\x00" + bytes(20), "version 9 is unknown"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(20), "header of 2,147,483,647 bytes"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': 'f4'} ", "header cannot be read"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')", "header cannot be read"),
    ],
)
def test_damaged_headers(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InvalidData, match=rf"a\.npy: .*{message}"):
        open_vectors(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(), (12,), (2, 2, 3)])
def test_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"a\.npy: has shape .*two dimensions"):
        open_vectors(save(tmp_path / "a.npy", np.ones(shape, np.float32)))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing_in_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidData, match=r"a\.npy: "):
        open_vectors(save(tmp_path / "a.npy", np.ones(shape, np.float32)))


@pytest.mark.parametrize("dtype", ["i4", "i8", "u2", "?", "c8", "U3", [("x", "f4")]])
def test_other_types_are_refused_with_a_remedy(tmp_path: Path, dtype: Any) -> None:
    path = save(tmp_path / "a.npy", np.zeros((2, 3), dtype))
    with pytest.raises(InvalidArgument, match=r"a\.npy: vectors of type .* convert them to one of float32"):
        open_vectors(path)
