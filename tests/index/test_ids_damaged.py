"""Damage to any page of ``ids.bin`` is found by the read that meets it, before an id is returned."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.errors import DamagedIndex, FormatTooNew, StorageError
from pageann.index.ids_file import ID_PAGE_BYTES, KEYS_OF_PAGE, IdLayout
from pageann.index.search.ids import IdMap
from tests.index.id_files import written
from tests.reference.sample_index import TAG

ROWS = 2 * KEYS_OF_PAGE + 5
VALUES: dict[str, Any] = {
    "rows": None,
    "int64": np.arange(ROWS) + 100,
    "string": [f"id {number}" for number in range(ROWS)],
}


def use_all(path: Path, meta: dict[str, Any], resident: bool) -> None:
    """Read every page of the file that has a meaning."""
    with IdMap.open(path, meta, ROWS, TAG, resident=resident) as ids:
        found, _, _ = ids.ids_of_rows(np.arange(ROWS))
        assert np.array_equal(ids.rows_of_ids(found), np.arange(ROWS))
        ids.slots_of_rows(np.arange(ROWS))


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("kind", list(VALUES))
def test_a_flipped_bit_on_any_page(tmp_path: Path, kind: str, resident: bool) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES[kind])
    sound = path.read_bytes()
    use_all(path, meta, resident)
    generator = np.random.default_rng(1)
    for page in range(len(sound) // ID_PAGE_BYTES):
        damaged = bytearray(sound)
        damaged[page * ID_PAGE_BYTES + int(generator.integers(ID_PAGE_BYTES))] ^= 1 << int(
            generator.integers(8)
        )
        path.write_bytes(damaged)
        with pytest.raises(DamagedIndex, match=r"ids\.bin") as caught:
            use_all(path, meta, resident)
        assert caught.value.file == str(path)
        assert caught.value.page == page - 1  # the header page is none


def test_a_page_in_the_place_of_another(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["int64"])
    data = bytearray(path.read_bytes())
    ids = IdLayout.from_json(meta).ids
    assert ids is not None
    first = (ids.first_page + 1) * ID_PAGE_BYTES
    second = first + ID_PAGE_BYTES
    data[first:second], data[second : second + ID_PAGE_BYTES] = (
        data[second : second + ID_PAGE_BYTES],
        data[first:second],
    )
    path.write_bytes(data)
    expected = pytest.raises(DamagedIndex, match=f"page {ids.first_page} .*another page")
    with IdMap.open(path, meta, ROWS, TAG, resident=False) as damaged, expected:
        damaged.ids_of_rows(np.array([0]))


@pytest.mark.parametrize("kept_bytes", [0, 100, ID_PAGE_BYTES, 3 * ID_PAGE_BYTES, -1])
def test_a_file_cut_short(tmp_path: Path, kept_bytes: int) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["int64"])
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(DamagedIndex, match=r"ids\.bin"):
        IdMap.open(path, meta, ROWS, TAG, resident=False)


def test_a_file_cut_short_while_it_is_open(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["int64"])
    with IdMap.open(path, meta, ROWS, TAG, resident=False) as ids:
        os.truncate(path, 2 * ID_PAGE_BYTES)
        with pytest.raises(DamagedIndex, match="cut short"):
            ids.ids_of_rows(np.array([ROWS - 1]))


@pytest.mark.parametrize(
    "change", [lambda m: m["slots"].update(count=ROWS + 1), lambda m: m["ids"].update(offset=8)]
)
def test_a_description_that_does_not_fit(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["int64"])
    change(meta)
    with pytest.raises(DamagedIndex, match="manifest"):
        IdMap.open(path, meta, ROWS, TAG, resident=False)


def test_a_description_of_more_pages_than_there_are(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["int64"])
    short, _ = written(tmp_path / "short", np.arange(3), VALUES["int64"][:3])
    path.write_bytes(short.read_bytes())
    with pytest.raises(DamagedIndex, match="manifest"):
        IdMap.open(path, meta, ROWS, TAG, resident=False)


def test_ids_of_another_index(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["rows"])
    with pytest.raises(DamagedIndex, match="another index"):
        IdMap.open(path, meta, ROWS, TAG + 1, resident=False)


def test_ids_of_a_kind_to_come(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["rows"])
    with pytest.raises(FormatTooNew, match="uuid"):
        IdMap.open(path, {**meta, "kind": "uuid"}, ROWS, TAG, resident=False)


def test_no_file(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), VALUES["rows"])
    path.unlink()
    with pytest.raises(StorageError, match=r"ids\.bin"):
        IdMap.open(path, meta, ROWS, TAG, resident=False)
