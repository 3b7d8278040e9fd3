"""A damaged page of vectors is found by whatever reads it: get, export, exact scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex
from pageann.index.search.records import RecordReader
from pageann.storage.format import PageLayout
from pageann.storage.io.files import open_for_reading
from pageann.storage.pages import seal_pages, set_counts
from pageann.types import Metric
from tests.index.record_files import CAPACITY, layout_of, random_order, reading, write_records
from tests.reference.sample_index import TAG

ROWS = 33
PAGES = 7
VECTORS = np.random.default_rng(2).integers(0, 256, (ROWS, 16)).astype(np.uint8)
LAYOUT = layout_of(VECTORS)

USES: dict[str, Callable[[RecordReader, Path], Any]] = {
    "get": lambda reader, _: reader.vectors_of_slots(np.arange(ROWS)),
    "export": lambda reader, folder: reader.export(folder / "out.npy"),
    "scan": lambda reader, _: reader.exact_scan(
        VECTORS[:2].astype(np.float32), 3, Metric.L2, integral=True, threads=3
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_records(tmp_path / "pages.bin", LAYOUT, VECTORS, random_order(ROWS))


def page_of(data: bytearray, number: int) -> NDArray[np.uint8]:
    """A data page, to be changed in place."""
    begin = LAYOUT.page_offset(number)
    return np.frombuffer(data, np.uint8)[begin : begin + LAYOUT.page_bytes]


def require_damage(path: Path, use: str, page: int, reason: str) -> None:
    with reading(path, LAYOUT, ROWS) as reader, pytest.raises(DamagedIndex, match=reason) as caught:
        USES[use](reader, path.parent)
    assert (caught.value.file, caught.value.page) == (str(path), page)
    assert not (path.parent / "out.npy").exists()


@pytest.mark.parametrize("use", list(USES))
@pytest.mark.parametrize("number", range(PAGES))
def test_a_flipped_bit(path: Path, use: str, number: int) -> None:
    data = bytearray(path.read_bytes())
    page_of(data, number)[40] ^= 4
    path.write_bytes(data)
    require_damage(path, use, number, f"page {number} .*checksum")


@pytest.mark.parametrize("use", list(USES))
@pytest.mark.parametrize("count", [0, CAPACITY - 1, CAPACITY + 1, 65_535])
def test_a_sealed_page_of_another_count(path: Path, use: str, count: int) -> None:
    data = bytearray(path.read_bytes())
    page = page_of(data, 2)[None]
    set_counts(page, count)
    seal_pages(page, 2, np.uint64(TAG))
    path.write_bytes(data)
    require_damage(path, use, 2, "page 2 ")


@pytest.mark.parametrize("use", ["export", "scan"])
def test_a_sealed_page_of_a_row_beyond_the_index(path: Path, use: str) -> None:
    data = bytearray(path.read_bytes())
    page = page_of(data, 4)[None]
    page[0, LAYOUT.rows_offset : LAYOUT.rows_offset + 4] = np.array([ROWS], "<u4").view(np.uint8)
    seal_pages(page, 4, np.uint64(TAG))
    path.write_bytes(data)
    require_damage(path, use, 4, f"page 4 names row {ROWS}")


def test_rows_that_come_twice(tmp_path: Path) -> None:
    order = random_order(ROWS)
    order[0] = order[1]
    path = write_records(tmp_path / "pages.bin", LAYOUT, VECTORS, order)
    require_damage(path, "export", -1, "a row comes twice")


@pytest.mark.parametrize("use", list(USES))
def test_a_file_cut_short_while_it_is_open(path: Path, use: str) -> None:
    with reading(path, LAYOUT, ROWS) as reader:
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(LAYOUT.page_offset(3))
        with pytest.raises(DamagedIndex, match="cut short") as caught:
            USES[use](reader, path.parent)
        assert len(data) == LAYOUT.page_offset(PAGES)
        assert caught.value.page >= 3


@pytest.mark.parametrize("change_pages", [-1, 1])
def test_a_file_of_another_length(path: Path, change_pages: int) -> None:
    with path.open("r+b") as file:
        file.truncate(LAYOUT.page_offset(PAGES + change_pages))
    with open_for_reading(path) as file_to_read, pytest.raises(DamagedIndex, match="33 vectors"):
        RecordReader(path, file_to_read, LAYOUT, ROWS)


def test_pages_of_another_index(path: Path) -> None:
    other = PageLayout.of_vectors(4096, CAPACITY, 16, VECTORS.dtype, 4, TAG + 1)
    with reading(path, other, ROWS) as reader, pytest.raises(DamagedIndex, match="another index"):
        reader.vectors_of_slots(np.array([0]))
