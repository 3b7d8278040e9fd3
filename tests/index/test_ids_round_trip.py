"""Every row leads to its id and its slot, and every id to its row, whatever the ids look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageann.index.builder.ids import write_ids
from pageann.index.ids_file import KEYS_OF_PAGE
from pageann.index.search.ids import IdMap
from pageann.storage.checksum import crc32c
from pageann.storage.files import OsFiles
from tests.index.id_files import opened, written
from tests.reference.sample_index import TAG

ROUND_TRIP = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STRANGE = [
    "",
    " ",
    "  ",
    "\0",
    "\n",
    "None",
    "-1",
    "é",
    "e\u0301",
    "ﬁ",
    "fi",
    "日本語",
    "🙂",
    "🙂🙂",
    "A",
    "a",
    "a ",
]


def require_round_trip(ids: IdMap, values: list[Any], seed: int) -> None:
    """All rows at once, some rows, and all ids in random order."""
    rows = len(values)
    generator = np.random.default_rng(seed)
    found, _, _ = ids.ids_of_rows(np.arange(rows))
    assert found.tolist() == values
    some = generator.integers(-1, rows, (3, 7))
    empty = None if ids.kind == "string" else -1
    found, _, _ = ids.ids_of_rows(some)
    assert found.tolist() == [[empty if row < 0 else values[row] for row in line] for line in some.tolist()]
    shuffled = generator.permutation(rows)
    assert ids.rows_of_ids([values[row] for row in shuffled]).tolist() == shuffled.tolist()


@pytest.mark.parametrize("resident", [False, True])
@given(
    values=st.lists(
        st.integers(-(2**63), 2**63 - 1).filter(lambda value: value != -1), min_size=1, unique=True
    )
)
@ROUND_TRIP
def test_integers(tmp_path: Path, values: list[int], resident: bool) -> None:
    with opened(tmp_path, np.array(values, np.int64), len(values), resident=resident) as ids:
        assert ids.kind == "int64"
        require_round_trip(ids, values, len(values))


@pytest.mark.parametrize("resident", [False, True])
@given(values=st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, unique=True))
@ROUND_TRIP
def test_strings(tmp_path: Path, values: list[str], resident: bool) -> None:
    with opened(tmp_path, values, len(values), resident=resident) as ids:
        assert ids.kind == "string"
        require_round_trip(ids, values, len(values))


@pytest.mark.parametrize("resident", [False, True])
def test_strings_that_look_alike_or_empty(tmp_path: Path, resident: bool) -> None:
    with opened(tmp_path, STRANGE, len(STRANGE), resident=resident) as ids:
        require_round_trip(ids, STRANGE, 1)


@pytest.mark.parametrize("resident", [False, True])
def test_long_strings_that_share_all_but_the_end(tmp_path: Path, resident: bool) -> None:
    values = ["x" * 65_000 + str(number) for number in range(20)] + ["y" * length for length in range(1, 30)]
    with opened(tmp_path, values, len(values), resident=resident) as ids:
        require_round_trip(ids, values, 2)


def test_row_numbers(tmp_path: Path) -> None:
    with opened(tmp_path, None, 2000) as ids:
        assert ids.kind == "rows"
        require_round_trip(ids, list(range(2000)), 3)


@pytest.mark.parametrize(
    "rows", [KEYS_OF_PAGE - 1, KEYS_OF_PAGE, KEYS_OF_PAGE + 1, 3 * KEYS_OF_PAGE, 300_000]
)
def test_integers_on_several_levels_of_pages(tmp_path: Path, rows: int) -> None:
    values = np.random.default_rng(4).permutation(rows) * 3 + 10
    with opened(tmp_path, values, rows) as ids:
        require_round_trip(ids, values.tolist(), 5)
        for absent in (9, 11, int(values.max()) + 1, -(2**63), 2**63 - 1):
            with pytest.raises(KeyError, match=str(absent)):
                ids.rows_of_ids([absent])


def test_strings_on_several_levels_of_pages(tmp_path: Path) -> None:
    values = [f"document/{number:06d}" for number in range(3 * KEYS_OF_PAGE + 1)]
    with opened(tmp_path, values, len(values)) as ids:
        require_round_trip(ids, values, 6)
        with pytest.raises(KeyError, match="document/1"):
            ids.rows_of_ids(["document/000000", "document/1"])


@given(rows=st.integers(1, 3000), seed=st.integers(0, 9))
@ROUND_TRIP
def test_slots(tmp_path: Path, rows: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(rows)
    path, meta = written(tmp_path, order.astype(np.int64), None)
    with IdMap.open(path, meta, rows, TAG, resident=False) as ids:
        assert np.array_equal(ids.slots_of_rows(order), np.arange(rows))
        assert ids.slots_of_rows(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize("values", [None, np.array([7, 5]), ["b", "a"]])
def test_same_bytes_and_description_that_json_keeps(tmp_path: Path, values: Any) -> None:
    made = []
    for name in ("first", "second"):
        entry, meta = write_ids(OsFiles(), tmp_path / name, np.array([1, 0]), values, TAG)
        data = (tmp_path / name).read_bytes()
        assert (entry.bytes, entry.crc32c) == (len(data), crc32c(data))
        made.append((data, json.dumps(meta)))
    assert made[0] == made[1]
    with IdMap.open(tmp_path / "first", json.loads(made[0][1]), 2, TAG, resident=True) as ids:
        expected = [0, 1] if values is None else list(values)
        assert ids.ids_of_rows(np.arange(2))[0].tolist() == expected
