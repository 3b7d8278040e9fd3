"""HDF5 in the layout of ann-benchmarks: the right dataset, mapped in place where that is possible."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pageann.datasets.records import RecordSource
from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument, InvalidData, MissingDependency

TRAIN = np.arange(24, dtype=np.float32).reshape(8, 3)
TEST = TRAIN[:2] + 100


def write(path: Path, datasets: dict[str, np.ndarray], **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file.create_dataset(name, data=array, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.h5", {"train": TRAIN, "test": TEST})


def test_train_is_the_default(path: Path) -> None:
    np.testing.assert_array_equal(open_vectors(path).mapped(None), TRAIN)


def test_another_dataset_by_option_and_by_name(path: Path) -> None:
    for source in (open_vectors(path, dataset="test"), open_vectors(f"{path}:test")):
        np.testing.assert_array_equal(source.mapped(None), TEST)
        assert source.name == f"{path}:test"


def test_a_dataset_in_a_group(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", {"part/one": TRAIN, "part/two": TEST})
    np.testing.assert_array_equal(open_vectors(f"{path}:/part/two").mapped(None), TEST)


def test_the_only_table_is_the_default(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"vectors": TRAIN, "labels": np.arange(8)})
    np.testing.assert_array_equal(open_vectors(path).mapped(None), TRAIN)


def test_a_missing_dataset_lists_the_others(path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"a\.h5: has no dataset 'base', but test, train; name one"):
        open_vectors(path, dataset="base")


def test_one_piece_is_mapped_and_chunks_are_spooled(tmp_path: Path) -> None:
    assert isinstance(open_vectors(write(tmp_path / "a.h5", {"train": TRAIN})), RecordSource)
    chunked = open_vectors(write(tmp_path / "b.h5", {"train": TRAIN}, chunks=(3, 2), compression="gzip"))
    assert not isinstance(chunked, RecordSource)
    np.testing.assert_array_equal(np.concatenate([block for _, block in chunked.blocks(5)]), TRAIN)
    np.testing.assert_array_equal(chunked.mapped(tmp_path), TRAIN)


def test_a_file_with_a_user_block(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file["train"] = TRAIN
    np.testing.assert_array_equal(open_vectors(tmp_path / "a.h5").mapped(None), TRAIN)


def test_one_dimension_is_refused(path: Path) -> None:
    write(path, {"train": np.arange(5, dtype=np.float32)})
    with pytest.raises(InvalidArgument, match=r"a\.h5:train: has shape \(5,\)"):
        open_vectors(path)


def test_no_rows(path: Path) -> None:
    write(path, {"train": np.empty((0, 3), np.float32)})
    with pytest.raises(InvalidData, match=r"a\.h5:train: holds no vectors"):
        open_vectors(path)


def test_not_hdf5_and_truncated(path: Path, tmp_path: Path) -> None:
    (tmp_path / "b.h5").write_bytes(b"something else entirely")
    with pytest.raises(InvalidData, match=r"b\.h5: cannot be read as HDF5"):
        open_vectors(tmp_path / "b.h5")
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(InvalidData, match=r"a\.h5: cannot be read as HDF5: .*truncated"):
        open_vectors(path)


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"train": TRAIN}, chunks=TRAIN.shape, compression="gzip", fletcher32=True)
    with h5py.File(path, "r") as file:
        place = file["train"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=r"a\.h5:train: rows from 0 on cannot be read"):
        open_vectors(path).mapped(None)


def test_without_h5py_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependency, match=r"a\.h5: .*pip install 'pageann\[hdf5\]'"):
        open_vectors(path)
