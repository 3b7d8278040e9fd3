"""An id that is not there is named; an id of the wrong type is refused, and never found by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

from pageann.errors import IndexClosed, InvalidArgument, UnknownId
from tests.index.id_files import opened

VALUES: dict[str, Any] = {"rows": None, "int64": np.array([10, 20, -30]), "string": ["10", "20", "x"]}


@pytest.mark.parametrize(
    ("kind", "asked", "named"),
    [
        ("rows", [0, 3], "id 3 "),
        ("rows", [-1], "id -1 "),
        ("rows", [2**70], f"id {2**70} "),
        ("int64", [10, 11, 12], "id 11 "),
        ("int64", [-1], "id -1 "),
        ("int64", np.array([2**64 - 1], np.uint64), f"id {2**64 - 1} "),
        ("string", ["10", "30"], "id '30' "),
        ("string", [""], "id '' "),
        ("string", ["\udc80"], r"id '\\udc80' "),
        ("string", ["?"], r"id '\?' "),
    ],
)
def test_unknown_ids_are_named(tmp_path: Path, kind: str, asked: Any, named: str) -> None:
    with opened(tmp_path, VALUES[kind], 3) as ids, pytest.raises(UnknownId, match=named):
        ids.rows_of_ids(asked)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("rows", ["0"]),
        ("rows", [True]),
        ("rows", [1.0]),
        ("rows", 1),
        ("rows", np.array([[0, 1]])),
        ("int64", ["10"]),
        ("int64", [10, None]),
        ("int64", np.array([10.0])),
        ("int64", np.array([[10], [20]], np.uint8)),
        ("string", [10]),
        ("string", np.array([10])),
        ("string", ["10", b"20"]),
        ("string", "10"),
        ("string", b"10"),
    ],
)
def test_ids_of_another_type_are_refused(tmp_path: Path, kind: str, asked: Any) -> None:
    with opened(tmp_path, VALUES[kind], 3) as ids, pytest.raises(InvalidArgument, match="pass"):
        ids.rows_of_ids(asked)


@pytest.mark.parametrize(
    ("kind", "asked", "rows"),
    [
        ("rows", (2, 0), [2, 0]),
        ("rows", range(3), [0, 1, 2]),
        ("int64", np.array([-30, 10], np.int16), [2, 0]),
        ("int64", np.array([20, 20], np.uint64), [1, 1]),
        ("int64", [np.int64(20), 10], [1, 0]),
        ("int64", pyarrow.array([-30]), [2]),
        ("int64", [], []),
        ("string", np.array(["x", "10"]), [2, 0]),
        ("string", np.array(["20"], object), [1]),
        ("string", pyarrow.array(["x"]), [2]),
        ("string", [], []),
    ],
)
def test_sequences_and_arrays_of_ids(tmp_path: Path, kind: str, asked: Any, rows: list[int]) -> None:
    with opened(tmp_path, VALUES[kind], 3) as ids:
        assert ids.rows_of_ids(asked).tolist() == rows


@pytest.mark.parametrize("kind", list(VALUES))
@pytest.mark.parametrize("row", [3, -2])
def test_rows_beyond_the_index_are_refused(tmp_path: Path, kind: str, row: int) -> None:
    with opened(tmp_path, VALUES[kind], 3) as ids:
        with pytest.raises(InvalidArgument, match=f"row {row}:"):
            ids.slots_of_rows(np.array([0, row]))
        if row >= 0:
            with pytest.raises(InvalidArgument, match=f"row {row}:"):
                ids.ids_of_rows(np.array([0, row]))


def test_a_closed_map_says_so(tmp_path: Path) -> None:
    ids = opened(tmp_path, VALUES["int64"], 3)
    ids.close()
    ids.close()
    with pytest.raises(IndexClosed, match=r"ids\.bin"):
        ids.ids_of_rows(np.array([0]))
