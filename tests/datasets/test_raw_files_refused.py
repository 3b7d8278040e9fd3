"""A raw file that is at odds with itself is refused, with the file and the row or the sizes named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.source import open_any, open_vectors
from pageann.datasets.writers import write_vectors
from pageann.errors import InvalidArgument, InvalidData, StorageError


def bin_file(path: Path, rows: int, dim: int, data_bytes: int) -> Path:
    path.write_bytes(np.array([rows, dim], "<u4").tobytes() + bytes(data_bytes))
    return path


def vecs_file(path: Path, dims: list[int]) -> Path:
    path.write_bytes(b"".join(np.int32(dim).tobytes() + bytes(4 * dim) for dim in dims))
    return path


def test_truncated_bin_says_both_sizes(tmp_path: Path) -> None:
    path = bin_file(tmp_path / "short.u8bin", 1000, 128, 99_992)
    expected = (
        f"{path}: file says 1,000 x 128 uint8, with its header = 128,008 bytes but has 100,000: truncated"
    )
    with pytest.raises(InvalidData, match=re.escape(expected)):
        open_vectors(path)


def test_overlong_bin(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"long\.fbin: .*= 24 bytes but has 25: too long"):
        open_vectors(bin_file(tmp_path / "long.fbin", 2, 2, 17))


def test_a_header_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.fbin").write_bytes(bytes(5))
    with pytest.raises(InvalidData, match=r"a\.fbin: 5 bytes are too few"):
        open_vectors(tmp_path / "a.fbin")


@pytest.mark.parametrize(("rows", "dim", "message"), [(0, 4, "no vectors"), (4, 0, "0 dimensions")])
def test_no_rows_or_no_dimensions(tmp_path: Path, rows: int, dim: int, message: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.fbin: .*{message}"):
        open_vectors(bin_file(tmp_path / "a.fbin", rows, dim, 0))


def test_more_dimensions_than_supported(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"a\.u8bin: vectors of 8193 dimensions"):
        open_vectors(bin_file(tmp_path / "a.u8bin", 1, 8193, 8193))


def test_as_many_dimensions_as_supported(tmp_path: Path) -> None:
    assert open_vectors(bin_file(tmp_path / "a.u8bin", 1, 8192, 8192)).dim == 8192


@pytest.mark.parametrize("name", ["a.npy", "a.fbin", "a.fvecs", "a.h5", "a.parquet", "a.arrow"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidData, match=rf"{name}: the file is empty"):
        open_vectors(tmp_path / name)


def test_truncated_vecs_names_the_row(tmp_path: Path) -> None:
    path = vecs_file(tmp_path / "a.fvecs", [3, 3, 3])
    os.truncate(path, 42)
    with pytest.raises(InvalidData, match=r"a\.fvecs: row 2 has 10 of its 16 bytes: truncated"):
        open_vectors(path)


def test_another_dim_names_the_row_when_sizes_do_not_divide(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"a\.fvecs: row 1 says 4 dimensions, row 0 says 3"):
        open_vectors(vecs_file(tmp_path / "a.fvecs", [3, 4, 3]))


def vecs_of_even_size(path: Path) -> Path:
    """Row 2 says dim 2, but the file divides into records of dim 1."""
    return vecs_file(path, [1, 1, 1, 1, 2, 1, 0])


def test_another_dim_is_found_in_blocks(tmp_path: Path) -> None:
    source = open_vectors(vecs_of_even_size(tmp_path / "a.fvecs"))
    with pytest.raises(InvalidData, match=r"a\.fvecs: row 4 says 2 dimensions, row 0 says 1"):
        list(source.blocks(3))


def test_another_dim_is_found_when_mapped(tmp_path: Path) -> None:
    source = open_vectors(vecs_of_even_size(tmp_path / "a.fvecs"))
    with pytest.raises(InvalidData, match=r"a\.fvecs: row 4 says 2 dimensions"):
        source.mapped(tmp_path)


def test_a_first_dim_that_is_no_dim(tmp_path: Path) -> None:
    (tmp_path / "a.fvecs").write_bytes(b"not vectors at all")
    with pytest.raises(InvalidData, match=r"a\.fvecs: row 0 says [0-9,]+ dimensions, .*not a \.fvecs file"):
        open_vectors(tmp_path / "a.fvecs")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = bin_file(tmp_path / "a.u8bin", 100, 4, 400)
    source = open_vectors(path)
    os.truncate(path, 8 + 42 * 4 + 2)
    with pytest.raises(InvalidData, match=r"a\.u8bin: the file became shorter .* at row 42"):
        list(source.blocks(10))


def test_a_missing_file_a_folder_and_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none\.fbin: no such file"):
        open_vectors(tmp_path / "none.fbin")
    with pytest.raises(InvalidArgument, match="no such file"):
        open_vectors("zero\0byte.fbin")
    (tmp_path / "folder.fbin").mkdir()
    with pytest.raises(InvalidArgument, match=r"folder\.fbin: not a file"):
        open_vectors(tmp_path / "folder.fbin")
    with pytest.raises(InvalidArgument, match=r"vectors\.csv: unknown suffix '\.csv'; use one of \.npy"):
        open_vectors(tmp_path / "vectors.csv")


def test_neighbour_ids_are_not_vectors(tmp_path: Path) -> None:
    write_vectors(tmp_path / "truth.ivecs", np.ones((2, 3), np.int32))
    assert open_any(tmp_path / "truth.ivecs").dtype == np.int32
    with pytest.raises(InvalidArgument, match=r"truth\.ivecs: vectors of type int32 are not supported"):
        open_vectors(tmp_path / "truth.ivecs")


def test_a_stated_shape_must_agree(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.fbin", np.ones((2, 3), np.float32))
    with pytest.raises(InvalidArgument, match=r"a\.fbin: dim=4 was stated, but the input has 3"):
        open_vectors(tmp_path / "a.fbin", dim=4)
    with pytest.raises(InvalidArgument, match=r"a\.fbin: rows=9 was stated, but the input has 2"):
        open_vectors(tmp_path / "a.fbin", rows=9)


def test_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.fbin", np.ones((2, 3), np.float32))
    with pytest.raises(InvalidArgument, match=r"a\.fbin: column= is for \.parquet"):
        open_vectors(tmp_path / "a.fbin", column="x")
    with pytest.raises(InvalidArgument, match=r"a\.fbin: dataset= is for \.hdf5"):
        open_vectors(tmp_path / "a.fbin", dataset="x")


def test_a_scratch_folder_that_is_missing(tmp_path: Path) -> None:
    source = open_vectors(np.ones((4, 4), np.float64))
    with pytest.raises(StorageError, match=r"absent: cannot copy the vectors here: No such file"):
        source.mapped(tmp_path / "absent")


def test_a_block_needs_a_row(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.fbin", np.ones((2, 3), np.float32))
    for source in (open_vectors(tmp_path / "a.fbin"), open_vectors(np.ones((2, 3), np.float32))):
        with pytest.raises(InvalidArgument, match="block_rows=0"):
            source.blocks(0)
