"""Strings are found by a hash of 64 bits: equal hashes must not make one id answer for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from pageann.errors import UnknownId
from pageann.index import ids_file
from pageann.index.ids_file import KEYS_OF_PAGE
from tests.index.id_files import opened


@pytest.mark.parametrize("distinct_hashes", [1, 2, 7])
def test_strings_of_equal_hash_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distinct_hashes: int
) -> None:
    monkeypatch.setattr(ids_file, "string_key", lambda data: sum(data) % distinct_hashes)
    values = [f"name {number}" for number in range(60)]
    with opened(tmp_path, values, len(values)) as ids:
        assert ids.rows_of_ids(values[::-1]).tolist() == list(range(60))[::-1]
        with pytest.raises(UnknownId, match="'name 60'"):
            ids.rows_of_ids(["name 3", "name 60"])


def test_a_run_of_equal_hashes_over_several_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_file, "string_key", lambda data: 5 if data.startswith(b"same") else data[0])
    count = 2 * KEYS_OF_PAGE + 9
    values = ["\1", *[f"same {number}" for number in range(count)], "\2", "z"]
    with opened(tmp_path, values, len(values)) as ids:
        wanted = ["z", f"same {count - 1}", "\1", f"same {KEYS_OF_PAGE}", "same 0", "\2"]
        rows = [values.index(value) for value in wanted]
        assert ids.rows_of_ids(wanted).tolist() == rows
        with pytest.raises(UnknownId, match="same -1"):
            ids.rows_of_ids(["same -1"])


def test_hash_is_the_same_on_every_machine() -> None:
    assert ids_file.string_key(b"abc") == int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little")
