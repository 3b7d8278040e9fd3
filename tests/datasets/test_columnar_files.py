"""Parquet, Arrow files and Arrow data: the columns are found, nulls and ragged rows are refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument, InvalidData, MissingDependency

ARRAY = np.arange(24, dtype=np.float32).reshape(8, 3)
FIXED = pa.list_(pa.float32(), 3)
SUFFIXES = (".parquet", ".arrow", ".feather")


def lists(kind: pa.DataType = FIXED, values: Any = None) -> pa.Array:
    return pa.array(ARRAY.tolist() if values is None else values, kind)


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=5)
    elif path.suffix == ".feather":
        feather.write_feather(table, path, compression="lz4", chunksize=5)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [FIXED, pa.list_(pa.float32()), pa.large_list(pa.float32())], ids=str)
def test_the_only_column_of_lists_is_the_vectors(tmp_path: Path, suffix: str, kind: pa.DataType) -> None:
    table = pa.table({"title": ["a"] * 8, "embedding": lists(kind), "year": range(8)})
    path = write(tmp_path / f"a{suffix}", table)
    source = open_vectors(path)
    assert (source.rows, source.dim, source.dtype, source.ids) == (8, 3, np.float32, None)
    assert source.name == f"{path}:embedding"
    np.testing.assert_array_equal(np.concatenate([block for _, block in source.blocks(3)]), ARRAY)
    np.testing.assert_array_equal(source.mapped(tmp_path), ARRAY)


@pytest.mark.parametrize(
    "data",
    [
        lists(),
        lists().slice(0, 8),
        pa.chunked_array([lists().slice(0, 2), lists().slice(2)]),
        pa.record_batch({"v": lists()}),
        pa.table({"v": lists(pa.list_(pa.float64()))}),
        pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [3]), lists()),
    ],
    ids=["array", "slice", "chunks", "batch", "float64 table", "tensor"],
)
def test_data_in_memory(data: Any, tmp_path: Path) -> None:
    source = open_vectors(data)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(source.mapped(tmp_path), ARRAY)


def test_a_slice_keeps_its_place() -> None:
    np.testing.assert_array_equal(open_vectors(lists().slice(2, 4)).mapped(None), ARRAY[2:6])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_come_from_the_column_id_or_the_one_named(tmp_path: Path, suffix: str) -> None:
    names = [f"n{row}" for row in range(8)]
    table = pa.table({"id": pa.array(range(8), pa.int32()), "name": names, "v": lists()})
    path = write(tmp_path / f"a{suffix}", table)
    ids = open_vectors(path).ids
    assert isinstance(ids, np.ndarray)
    assert ids.dtype == np.int64
    assert ids.tolist() == list(range(8))
    assert open_vectors(path, id_column="name").ids == names
    assert open_vectors(path, id_column="").ids is None


def test_ids_survive_the_conversion_of_float64() -> None:
    table = pa.table({"id": range(8), "v": lists(pa.list_(pa.float64(), 3))})
    ids = open_vectors(table).ids
    assert isinstance(ids, np.ndarray)
    assert ids.tolist() == list(range(8))


def test_dictionary_encoded_ids() -> None:
    table = pa.table({"id": pa.array([f"n{row}" for row in range(8)]).dictionary_encode(), "v": lists()})
    assert open_vectors(table).ids == [f"n{row}" for row in range(8)]


def test_two_columns_of_lists_must_be_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"one": lists(), "two": lists()}))
    with pytest.raises(InvalidArgument, match=r"a\.parquet: has one, two; name the vectors' column"):
        open_vectors(path)
    assert open_vectors(path, column="two").name == f"{path}:two"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "none"}, "has no one column 'none', but year, v; set column="),
        ({"column": "year"}, "column 'year' is int64, not lists of numbers"),
        ({"id_column": "none"}, "has no one column 'none', but year, v; set id_column="),
    ],
)
def test_columns_that_do_not_serve(tmp_path: Path, options: dict[str, str], message: str) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"year": range(8), "v": lists()}))
    with pytest.raises(InvalidArgument, match=rf"a\.parquet: {message}"):
        open_vectors(path, **options)


def test_no_column_of_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"year": range(8), "names": [["x"]] * 8}))
    with pytest.raises(InvalidArgument, match=r"a\.parquet: has no column of lists of numbers"):
        open_vectors(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (FIXED, None, "row 6 is null or holds a null"),
        (FIXED, [1, None, 2], "row 6 is null or holds a null"),
        (pa.list_(pa.float32()), [1, None, 2], "row 6 is null or holds a null"),
        (pa.list_(pa.float32()), None, "row 6 is null or holds a null"),
        (pa.list_(pa.float32()), [1, 2], "row 6 has 2 values, row 0 has 3"),
    ],
)
def test_rows_that_are_no_vectors(
    tmp_path: Path, suffix: str, kind: pa.DataType, bad: Any, message: str
) -> None:
    values = ARRAY.tolist()
    values[6] = bad
    path = write(tmp_path / f"a{suffix}", pa.table({"v": lists(kind, values)}))
    with pytest.raises(InvalidData, match=rf"a{suffix}:v: {message}"):
        open_vectors(path).mapped(tmp_path)


def test_a_null_first_row_of_variable_lists() -> None:
    with pytest.raises(InvalidData, match="vectors:vector: row 0 is null"):
        open_vectors(lists(pa.list_(pa.float32()), [None, [1.0]]))


def test_a_null_id_names_the_row() -> None:
    table = pa.table({"id": [0, 1, 2, None, 4, 5, 6, 7], "v": lists()})
    with pytest.raises(InvalidData, match=r"vectors:id: row 3 has no id \(null\)"):
        _ = open_vectors(table).ids


def test_an_id_beyond_int64_names_the_row() -> None:
    table = pa.table({"id": pa.array([0] * 7 + [2**63], pa.uint64()), "v": lists()})
    with pytest.raises(InvalidData, match="vectors:id: row 7 has id 9223372036854775808"):
        _ = open_vectors(table).ids


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", pa.table({"v": lists(FIXED, [])}))
    with pytest.raises(InvalidData, match=rf"a{suffix}: holds no rows"):
        open_vectors(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_kind_of_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"something else entirely, and long enough")
    with pytest.raises(InvalidData, match=rf"a{suffix}: cannot be read as .*(Parquet|Arrow file)"):
        open_vectors(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", pa.table({"v": lists()}))
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(InvalidData, match=rf"a{suffix}: cannot be read as .*(Parquet|Arrow file)"):
        open_vectors(path).mapped(tmp_path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"v": lists()}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"a\.parquet: .*pip install 'pageann\[arrow\]'"):
        open_vectors(path)
