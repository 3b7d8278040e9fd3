"""A file is written whole or not at all, and only with values that it can hold."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets import writers
from pageann.datasets.source import open_vectors
from pageann.datasets.writers import write_vectors
from pageann.errors import InvalidArgument, InvalidData, StorageError

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)
SUFFIXES = (".npy", ".fbin", ".fvecs", ".h5", ".parquet", ".arrow")


def failing_blocks() -> Iterator[np.ndarray]:
    yield ARRAY
    raise RuntimeError("the source broke")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_vectors(path, ARRAY)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the source broke"):
        write_vectors(path, failing_blocks(), 8, 3)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_can_be_written_over_its_own_input(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_vectors(path, ARRAY)
    write_vectors(path, path)
    np.testing.assert_array_equal(open_vectors(path).mapped(None), ARRAY)


def test_the_file_and_its_folder_are_synced_around_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace, sync = os.replace, writers._sync

    def noted_replace(source: Path, target: Path) -> None:
        events.append(f"rename {Path(target).name}")
        replace(source, target)

    def noted_sync(path: Path) -> None:
        events.append("sync folder" if path == tmp_path else "sync file")
        sync(path)

    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(writers, "_sync", noted_sync)
    write_vectors(tmp_path / "a.npy", ARRAY)
    assert events == ["sync file", "rename a.npy", "sync folder"]


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_vectors(tmp_path / "a.npy", ARRAY)
    usual, found = ((tmp_path / name).stat().st_mode for name in ("usual", "a.npy"))
    assert stat.S_IMODE(found) == stat.S_IMODE(usual)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_folder_is_one_line(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(StorageError, match=rf"a{suffix}: No such file or directory$"):
        write_vectors(tmp_path / "absent" / f"a{suffix}", ARRAY)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writers, "_sync", full)
    with pytest.raises(StorageError, match=r"a\.npy: No space left on device") as caught:
        write_vectors(tmp_path / "a.npy", ARRAY)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "vectors", "expected"),
    [
        ("a.u8bin", ARRAY, np.uint8),
        ("a.bvecs", ARRAY, np.uint8),
        ("a.i8bin", ARRAY, np.int8),
        ("a.fbin", ARRAY.astype(np.float16), np.float32),
        ("a.fbin", ARRAY.astype(np.uint8), np.float32),
        ("a.f16bin", ARRAY, np.float16),
        ("a.npy", ARRAY.astype(">f4"), np.float32),
    ],
)
def test_values_that_survive_are_converted(
    tmp_path: Path, name: str, vectors: np.ndarray, expected: Any
) -> None:
    write_vectors(tmp_path / name, vectors)
    source = open_vectors(tmp_path / name)
    assert source.dtype == expected
    np.testing.assert_array_equal(source.mapped(None), ARRAY)


def test_float64_is_rounded_to_float32(tmp_path: Path) -> None:
    values = np.full((2, 2), 0.1)
    write_vectors(tmp_path / "a.fbin", values)
    np.testing.assert_array_equal(open_vectors(tmp_path / "a.fbin").mapped(None), values.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("a.u8bin", 0.5, np.float32),
        ("a.u8bin", -1, np.float32),
        ("a.u8bin", 256, np.float32),
        ("a.i8bin", 200, np.uint8),
        ("a.f16bin", 0.1, np.float32),
        ("a.f16bin", 1e5, np.float32),
        ("a.fbin", 1e300, np.float64),
        ("a.ivecs", 2**31, np.int64),
    ],
)
def test_a_value_that_would_change_names_its_row(tmp_path: Path, name: str, value: float, dtype: Any) -> None:
    array = np.ones((5, 2), dtype)
    array[3, 1] = value
    with pytest.raises(InvalidData, match=rf"vectors: row 3 holds .* in {re.escape(name)} cannot"):
        write_vectors(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_a_type_can_be_asked_for_where_the_format_is_free(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.npy", ARRAY, dtype="uint8")
    assert np.load(tmp_path / "a.npy").dtype == np.uint8
    with pytest.raises(InvalidArgument, match=r"a\.u8bin: \.u8bin holds uint8, not float32"):
        write_vectors(tmp_path / "a.u8bin", ARRAY, dtype="float32")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("ids", [np.array([7, 5, 6, 4]), ["b", "a", "d", "c"]], ids=["int64", "str"])
def test_ids_go_into_a_column(tmp_path: Path, suffix: str, ids: Any) -> None:
    write_vectors(tmp_path / f"a{suffix}", ARRAY, ids=ids)
    source = open_vectors(tmp_path / f"a{suffix}")
    assert source.ids is not None
    assert list(source.ids) == list(ids)
    np.testing.assert_array_equal(source.mapped(None), ARRAY)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("a.csv", {}, InvalidArgument, r"a\.csv: unknown suffix '\.csv'"),
        ("a.fbin", {"ids": [1, 2, 3, 4]}, InvalidArgument, r"a\.fbin: \.fbin has no place for ids"),
        ("a.parquet", {"ids": [1, 2]}, InvalidData, "2 ids for 4 vectors"),
        ("a.fbin", {"rows": 5}, InvalidArgument, "rows=5 was stated, but the input has 4"),
        ("a.fbin", {"dim": 5}, InvalidArgument, "dim=5 was stated, but the input has 3"),
    ],
)
def test_refused(
    tmp_path: Path, name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_vectors(tmp_path / name, ARRAY, **options)
    assert list(tmp_path.iterdir()) == []
