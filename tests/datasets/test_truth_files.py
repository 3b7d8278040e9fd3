"""Truth files of every data set form give int64 rows; an id that is no row is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pageann.datasets.truth_files import read_truth_ids
from pageann.datasets.writers import write_vectors
from pageann.errors import InvalidArgument, InvalidData

IDS = np.array([[4, 2, 0], [1, 3, -1]], np.int32)


@pytest.mark.parametrize("name", ["t.npy", "t.ivecs", "t.ibin"])
def test_files_of_ids(tmp_path: Path, name: str) -> None:
    write_vectors(tmp_path / name, IDS)
    found = read_truth_ids(tmp_path / name, rows=5)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, IDS)


def test_the_form_of_big_ann_with_distances_behind(tmp_path: Path) -> None:
    ids = np.abs(IDS)
    content = np.array(ids.shape, "<u4").tobytes() + ids.astype("<u4").tobytes() + bytes(4 * ids.size)
    (tmp_path / "t.ibin").write_bytes(content)
    np.testing.assert_array_equal(read_truth_ids(tmp_path / "t.ibin"), ids)


def test_hdf5_has_them_under_neighbors(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["train"] = np.ones((5, 2), np.float32)
        file["neighbors"] = IDS
        file["other"] = IDS + 1
    np.testing.assert_array_equal(read_truth_ids(tmp_path / "t.h5", rows=5), IDS)
    np.testing.assert_array_equal(read_truth_ids(tmp_path / "t.h5", dataset="other"), IDS + 1)
    np.testing.assert_array_equal(read_truth_ids(f"{tmp_path}/t.h5:other"), IDS + 1)


def test_an_id_that_is_no_row_is_named(tmp_path: Path) -> None:
    write_vectors(tmp_path / "t.ivecs", IDS)
    with pytest.raises(InvalidData, match=r"t\.ivecs: row 0 names neighbour 4, .* no row of a base of 4"):
        read_truth_ids(tmp_path / "t.ivecs", rows=4)
    write_vectors(tmp_path / "t.ivecs", IDS - 1)
    with pytest.raises(InvalidData, match=r"row 1 names neighbour -2"):
        read_truth_ids(tmp_path / "t.ivecs")


def test_distances_are_no_ids(tmp_path: Path) -> None:
    write_vectors(tmp_path / "t.fbin", np.ones((2, 3), np.float32))
    with pytest.raises(InvalidArgument, match=r"t\.fbin: holds float32; a truth file holds integer"):
        read_truth_ids(tmp_path / "t.fbin")


def test_a_truncated_file(tmp_path: Path) -> None:
    write_vectors(tmp_path / "t.ibin", IDS)
    (tmp_path / "t.ibin").write_bytes((tmp_path / "t.ibin").read_bytes()[:-4])
    with pytest.raises(InvalidData, match=r"t\.ibin: .*truncated"):
        read_truth_ids(tmp_path / "t.ibin")
