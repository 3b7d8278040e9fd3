"""What ids cost: nothing where they are resident or row numbers, else one read of 4 KiB for all of a page."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.index.ids_file import ID_PAYLOAD_BYTES, KEYS_OF_PAGE
from pageann.index.search.ids import IdMap
from tests.index.id_files import opened, written
from tests.reference.sample_index import TAG

ROWS = 10 * KEYS_OF_PAGE
INTEGERS = np.arange(ROWS) * 7 + 3
STRINGS = [f"{number:08d}" for number in range(ROWS)]  # as wide as integers: as many to a page


def reads_of(ids: IdMap, rows: list[int]) -> tuple[int, float]:
    _, count, kib = ids.ids_of_rows(np.array(rows))
    return count, kib


def test_row_numbers_cost_no_read_and_no_memory(tmp_path: Path) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), None)
    with IdMap.open(path, meta, ROWS, TAG, resident=True) as ids:
        assert reads_of(ids, [0, 5, ROWS - 1]) == (0, 0.0)
        assert ids.resident_bytes == IdMap.resident_bytes_of(meta, ROWS) == 0


@pytest.mark.parametrize("values", [INTEGERS, STRINGS], ids=["int64", "string"])
def test_resident_ids_cost_no_read_and_the_memory_that_was_said(tmp_path: Path, values: Any) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), values)
    with IdMap.open(path, meta, ROWS, TAG, resident=True) as ids:
        assert reads_of(ids, [0, 5, ROWS - 1]) == (0, 0.0)
        expected = 8 * ROWS if values is INTEGERS else 4 * (ROWS + 1) + sum(map(len, STRINGS))
        assert ids.resident_bytes == IdMap.resident_bytes_of(meta, ROWS) == expected
    with IdMap.open(path, meta, ROWS, TAG, resident=False) as ids:
        assert ids.resident_bytes == 0


def test_integers_of_one_page_are_one_read(tmp_path: Path) -> None:
    with opened(tmp_path, INTEGERS, ROWS) as ids:
        assert reads_of(ids, [-1, -1]) == (0, 0.0)
        assert reads_of(ids, [3]) == (1, 4.0)
        assert reads_of(ids, [0, 7, -1, 7, KEYS_OF_PAGE - 1]) == (1, 4.0)
        assert reads_of(ids, [0, 5 * KEYS_OF_PAGE]) == (2, 8.0)


def test_integers_of_adjacent_pages_are_one_longer_read(tmp_path: Path) -> None:
    with opened(tmp_path, INTEGERS, ROWS) as ids:
        assert reads_of(ids, [KEYS_OF_PAGE - 1, KEYS_OF_PAGE]) == (1, 8.0)
        assert reads_of(ids, list(range(ROWS))) == (1, 40.0)


def test_strings_cost_a_read_of_their_place_and_one_of_their_text(tmp_path: Path) -> None:
    with opened(tmp_path, STRINGS, ROWS) as ids:
        assert reads_of(ids, [3]) == (2, 8.0)
        assert reads_of(ids, [3, 4, 5, 4]) == (2, 8.0)
        assert reads_of(ids, [3, ROWS - 2]) == (4, 16.0)


def test_a_string_over_several_pages_is_one_read(tmp_path: Path) -> None:
    with opened(tmp_path, ["a", "b" * (3 * ID_PAYLOAD_BYTES)], 2) as ids:
        assert reads_of(ids, [1]) == (2, 4.0 + 4 * 4.0)


def test_threads_share_one_map(tmp_path: Path) -> None:
    with opened(tmp_path, STRINGS, ROWS) as ids:

        def search(seed: int) -> bool:
            rows = np.random.default_rng(seed).integers(0, ROWS, 40)
            found, _, _ = ids.ids_of_rows(rows)
            same = found.tolist() == [STRINGS[row] for row in rows]
            return same and np.array_equal(ids.rows_of_ids(found), rows)

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(search, range(40)))


def test_reading_many_long_strings_holds_little_beside_them(tmp_path: Path) -> None:
    """An index of a small budget has no room for whole files of ids while it answers."""
    rows, length = 20_000, 200
    strings = [f"{number:0{length}d}" for number in range(rows)]
    wanted = np.arange(0, rows, 20)
    answer_bytes = len(wanted) * 2 * (length + 100)  # as bytes and as text, with what Python adds to each
    with opened(tmp_path, strings, rows) as ids:
        ids.ids_of_rows(wanted)
        tracemalloc.start()
        found, reads, _ = ids.ids_of_rows(wanted)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.tolist() == [strings[row] for row in wanted]
    assert peak < answer_bytes + (512 << 10)
    assert reads > rows * length >> 16, "no read brings more than 64 KiB"


@pytest.mark.parametrize("resident", [True, False])
def test_more_strings_than_are_looked_up_at_once(tmp_path: Path, resident: bool) -> None:
    path, meta = written(tmp_path, np.arange(ROWS), STRINGS)
    rows = np.random.default_rng(0).permutation(ROWS)
    with IdMap.open(path, meta, ROWS, TAG, resident=resident) as ids:
        found, _, _ = ids.ids_of_rows(rows)
    assert ROWS > 2 * 2048
    assert found.tolist() == [STRINGS[row] for row in rows]
