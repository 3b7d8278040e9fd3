"""Ids are int64 or strings, one a row, all different; anything else names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageann.datasets.validate import check_ids, read_ids
from pageann.datasets.writers import write_ids
from pageann.errors import InvalidArgument, InvalidData


class _Lookalike:
    """Offers an array only through ``__array__``, as a column of a data frame does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([3, 1, 2], np.uint32)


@pytest.mark.parametrize(
    "given_ids",
    [
        [3, 1, 2],
        (3, 1, 2),
        np.array([3, 1, 2], np.int8),
        np.array([3, 1, 2], np.uint64),
        np.array([3, 1, 2], object),
        [np.int32(3), 1, np.uint64(2)],
        pa.array([3, 1, 2]),
        _Lookalike(),
        iter([3, 1, 2]),
    ],
)
def test_integers(given_ids: Any) -> None:
    found = check_ids(given_ids, 3)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.int64
    assert found.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "given_ids", [["b", "a"], np.array(["b", "a"]), np.array(["b", "a"], object), pa.array(["b", "a"])]
)
def test_strings(given_ids: Any) -> None:
    assert check_ids(given_ids, 2) == ["b", "a"]


def test_the_whole_range_of_int64() -> None:
    limits = np.iinfo(np.int64)
    given_ids = [limits.min, limits.max, -2]
    assert list(check_ids(given_ids, 3)) == given_ids


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 2], "2 ids for 3 vectors"),
        ([1, 2, 3, 4], "4 ids for 3 vectors"),
        ([1, None, 3], "row 1 has no id"),
        (["a", "b", None], "row 2 has no id"),
        ([None, "b", "c"], "row 0 has no id"),
        (["a", "", "c"], "row 1 has an empty id"),
        (["a", "b", "\ud800"], "row 2 has an id that is no valid Unicode"),
        (["a", "b" * 65_536, "c"], "row 1 has an id of 65,536 bytes"),
        ([1, "b", 3], "row 1 is a str, row 0 is an integer"),
        (["a", "b", 3], "row 2 is a int, row 0 is a string"),
        ([1, 2, 3.0], "row 2 is a float"),
        ([True, False, 3], "row 0 is a bool"),
        ([UUID(int=1), UUID(int=2), UUID(int=3)], "row 0 is a UUID; ids are integers or strings"),
        ([1, 2, 2**63], "row 2 has id 9223372036854775808, which is no int64"),
        (np.array([1, 2, 2**63], np.uint64), "row 2 has id 9223372036854775808"),
        (np.array([1.0, 2.0, 3.0]), "ids of type float64"),
        (np.array([True, False, True]), "ids of type bool"),
        (np.array([[1, 2, 3]]), r"has shape \(1, 3\)"),
        ([5, -1, 7], "row 1 has id -1, which pads short results"),
    ],
)
def test_refused(bad: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=f"my ids: {message}"):
        check_ids(bad, 3, name="my ids")


@pytest.mark.parametrize("bad", ["abc", b"abc", 3, None])
def test_no_sequence_at_all(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="is not a sequence of ids"):
        check_ids(bad, 3)


@given(st.data())
def test_the_first_duplicate_is_named_with_both_rows(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 20))
    second = data.draw(st.integers(1, count - 1))
    first = data.draw(st.integers(0, second - 1))
    values = data.draw(st.permutations(range(count)))
    values[second] = values[first]
    for ids in (np.array(values), [f"n{value}" for value in values]):
        with pytest.raises(InvalidData, match=f"rows {first} and {second} have the same id"):
            check_ids(ids, count)


def test_ids_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"12\r\n-7\n0\n")
    numbers = read_ids(path)
    assert isinstance(numbers, np.ndarray)
    assert numbers.tolist() == [12, -7, 0]
    path.write_text("12\n007\n1\n")
    assert read_ids(path) == ["12", "007", "1"]
    path.write_text("a b\nü\n", encoding="utf-8")
    assert read_ids(path) == ["a b", "ü"]


def test_a_text_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InvalidData, match=r"ids\.txt: line 2 is not UTF-8"):
        read_ids(tmp_path / "ids.txt")


def test_a_blank_line_is_an_empty_id(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\n\nb\n")
    with pytest.raises(InvalidData, match=r"row 1 has an empty id"):
        check_ids(read_ids(tmp_path / "ids.txt"), 3)


def test_numbers_beyond_int64_stay_strings(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n" + "9" * 5000 + "\n")
    assert read_ids(tmp_path / "ids.txt") == ["1", "9" * 5000]
    (tmp_path / "ids.txt").write_text("1\n9223372036854775808\n")
    assert read_ids(tmp_path / "ids.txt") == ["1", "9223372036854775808"]


@pytest.mark.parametrize("values", [np.array([5, 3], np.int32), np.array(["b", "a"])])
def test_ids_of_an_npy_file(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "ids.npy", values)
    assert list(read_ids(tmp_path / "ids.npy")) == values.tolist()


@pytest.mark.parametrize("values", [np.array([[1, 2]]), np.array([1.5, 2.5])])
def test_an_npy_file_without_ids(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "ids.npy", values)
    with pytest.raises(InvalidData, match=r"ids\.npy: has shape .*ids are one dimension of int64 or str"):
        read_ids(tmp_path / "ids.npy")


def test_ids_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    parquet.write_table(pa.table({"score": [0.5, 0.6], "key": ["b", "a"]}), path)
    assert read_ids(path) == ["b", "a"]
    parquet.write_table(pa.table({"id": [7, 8], "key": ["b", "a"]}), path)
    assert read_ids(path, column="key") == ["b", "a"]
    assert list(read_ids(path)) == [7, 8]
    with pytest.raises(InvalidArgument, match=r"ids\.parquet: has no one column 'none'"):
        read_ids(path, column="none")


def test_an_unknown_suffix_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"ids\.csv: unknown suffix '\.csv' for ids"):
        read_ids(tmp_path / "ids.csv")
    with pytest.raises(InvalidArgument, match=r"ids\.txt: no such file"):
        read_ids(tmp_path / "ids.txt")


@pytest.mark.parametrize(
    ("name", "ids"),
    [("ids.npy", np.array([4, 2])), ("ids.txt", np.array([4, -2])), ("ids.txt", ["b", "ü 1"])],
)
def test_written_ids_are_read_back(tmp_path: Path, name: str, ids: Any) -> None:
    write_ids(tmp_path / name, ids)
    assert list(read_ids(tmp_path / name)) == list(ids)


def test_ids_that_a_file_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"ids\.npy: \.npy holds integer ids only"):
        write_ids(tmp_path / "ids.npy", ["a"])
    with pytest.raises(InvalidData, match=r"ids\.txt: the id of row 1 has a line break"):
        write_ids(tmp_path / "ids.txt", ["a", "b\nc"])
    with pytest.raises(InvalidArgument, match=r"ids\.csv: unknown suffix"):
        write_ids(tmp_path / "ids.csv", ["a"])
    assert list(tmp_path.iterdir()) == []
