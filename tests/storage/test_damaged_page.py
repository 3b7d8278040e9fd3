"""A page that is torn, misplaced or of another index must be found on the read that meets it.

A search trusts what :func:`check_page` passes: row numbers, links and distances come straight from it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument
from pageann.storage.checksum import crc32c
from pageann.storage.files import OsFiles
from pageann.storage.format import FLAGS_OFFSET, HEADER_PAGE, PageLayout
from pageann.storage.pagefile import PageFileWriter, RawFileWriter, read_page_file_header
from pageann.storage.pages import (
    PAGE_BAD_CHECKSUM,
    PAGE_BAD_COUNT,
    PAGE_BAD_MAGIC,
    PAGE_SOUND,
    PAGE_UNKNOWN_FLAG,
    PAGE_WRONG_NUMBER,
    PAGE_WRONG_TAG,
    check_counts,
    check_page,
    describe_page_fault,
    page_fault,
    seal_pages,
    set_counts,
)
from tests.reference.sample_index import TAG, sample_layout, sample_pages


def check(page: np.ndarray, number: int, tag: int = TAG) -> int:
    """:func:`check_page` of an array."""
    return int(check_page(page.ctypes.data, page.size, number, np.uint64(tag)))


@pytest.fixture
def pages() -> np.ndarray:
    """Eight sealed pages."""
    made = sample_pages(sample_layout(), 8, seed=4)[0]
    seal_pages(made, 0, np.uint64(TAG))
    return made


def test_sealed_pages_are_sound(pages: np.ndarray) -> None:
    assert [check(page, number) for number, page in enumerate(pages)] == [PAGE_SOUND] * 8


def test_every_kind_of_flipped_bit_is_found(pages: np.ndarray) -> None:
    page = pages[3]
    generator = np.random.default_rng(5)
    for bit in [*range(64 * 8), *generator.integers(64 * 8, page.size * 8, 500)]:
        page[bit // 8] ^= 1 << (bit % 8)
        assert check(page, 3) == (PAGE_BAD_MAGIC if bit < 32 else PAGE_BAD_CHECKSUM), bit
        page[bit // 8] ^= 1 << (bit % 8)
    assert check(page, 3) == PAGE_SOUND


@pytest.mark.parametrize("sector_bytes", [16, 512, 1024])
def test_a_torn_page_is_found(pages: np.ndarray, sector_bytes: int) -> None:
    newer = sample_pages(sample_layout(), 8, seed=6)[0]
    seal_pages(newer, 0, np.uint64(TAG))
    torn = pages[0].copy()
    torn[:sector_bytes] = newer[0, :sector_bytes]
    assert check(torn, 0) == PAGE_BAD_CHECKSUM


def test_a_page_that_was_never_written_is_found() -> None:
    assert check(np.zeros(4096, np.uint8), 0) == PAGE_BAD_MAGIC


def test_a_misplaced_page_is_found(pages: np.ndarray) -> None:
    assert check(pages[2], 5) == PAGE_WRONG_NUMBER
    assert check(pages[2], HEADER_PAGE) == PAGE_WRONG_NUMBER
    header = np.frombuffer(sample_layout().to_header_page(8), np.uint8)
    assert check(header, HEADER_PAGE) == PAGE_SOUND
    assert check(header, 0) == PAGE_WRONG_NUMBER


def test_a_page_of_another_index_is_found(pages: np.ndarray) -> None:
    for other in (TAG + 1, TAG ^ 1 << 63, 0):
        assert check(pages[2], 2, other) == PAGE_WRONG_TAG


def test_an_unknown_flag_is_found_and_is_no_damage(pages: np.ndarray) -> None:
    page = pages[0]
    page[FLAGS_OFFSET] = 1
    page[4:8] = np.frombuffer(crc32c(page[8:]).to_bytes(4, "little"), np.uint8)
    assert check(page, 0) == PAGE_UNKNOWN_FLAG
    assert isinstance(page_fault("pages.bin", 0, PAGE_UNKNOWN_FLAG), FormatTooNew)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_count_beyond_its_places_is_found(pages: np.ndarray, column: int) -> None:
    layout = sample_layout()
    places = [layout.capacity, layout.link_capacity, layout.rep_capacity]
    for excess, expected in ((0, PAGE_SOUND), (1, PAGE_BAD_COUNT)):
        counts = list(places)
        counts[column] += excess
        set_counts(pages[:1], *counts)
        assert int(check_counts(pages[0].ctypes.data, *places)) == expected


def test_a_fault_names_file_and_page() -> None:
    error = page_fault("photos/pages.bin", 7, PAGE_BAD_CHECKSUM)
    assert isinstance(error, DamagedIndex)
    assert (error.file, error.page) == ("photos/pages.bin", 7)
    assert str(error).startswith("photos/pages.bin: page 7 is damaged: ")
    texts = [describe_page_fault(code) for code in range(PAGE_SOUND, PAGE_BAD_COUNT + 1)]
    assert len(set(texts)) == len(texts)


def test_a_written_file_has_the_checksum_that_its_writer_said(tmp_path: Path) -> None:
    layout = sample_layout()
    pages = sample_pages(layout, 5, seed=7)[0]
    with PageFileWriter(OsFiles(), tmp_path / "pages.bin", layout) as writer:
        for first, last in ((0, 2), (2, 2), (2, 5)):
            writer.append(pages[first:last])
        said = writer.close()
    data = (tmp_path / "pages.bin").read_bytes()
    assert said == (len(data), crc32c(data))
    assert read_page_file_header(tmp_path / "pages.bin") == (layout, 5)
    written = np.frombuffer(data, np.uint8).reshape(6, layout.page_bytes)
    assert [check(page, number - 1) for number, page in enumerate(written)] == [PAGE_SOUND] * 6


def test_pages_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    with PageFileWriter(OsFiles(), tmp_path / "pages.bin", sample_layout()) as writer:
        for wrong in (np.zeros((1, 8192), np.uint8), np.zeros((1, 4096), np.int8), np.zeros(4096, np.uint8)):
            with pytest.raises(InvalidArgument):
                writer.append(wrong)
        with pytest.raises(InvalidArgument, match="contiguous"):
            writer.append(np.zeros((4, 4096), np.uint8)[::2])


def test_an_unfinished_or_cut_file_has_no_sound_header(tmp_path: Path) -> None:
    path = tmp_path / "pages.bin"
    with PageFileWriter(OsFiles(), path, sample_layout()) as writer:
        writer.append(sample_pages(sample_layout(), 3, seed=8)[0])
    with pytest.raises(DamagedIndex):
        read_page_file_header(path)
    with PageFileWriter(OsFiles(), path, sample_layout()) as writer:
        writer.append(sample_pages(sample_layout(), 3, seed=8)[0])
        writer.close()
    data = path.read_bytes()
    for length in (len(data) - 1, len(data) - 4096, len(data) + 1, 100):
        path.write_bytes((data + b"\0")[:length])
        with pytest.raises(DamagedIndex):
            read_page_file_header(path)


@pytest.mark.parametrize("total", [0, 1, 4064, 4065, 1 << 20, (1 << 20) + 5000])
def test_raw_bytes_lie_where_the_layout_says(tmp_path: Path, total: int) -> None:
    expected = np.random.default_rng(9).integers(0, 256, total, np.uint8)
    path = tmp_path / "ids.bin"
    starts, at = [], 0
    with RawFileWriter(OsFiles(), path, 4096, TAG) as writer:
        while at < total:
            starts.append((writer.write(expected[at : at + 70001]), at))
            at += 70001
        said = writer.close()
    data = path.read_bytes()
    assert said == (len(data), crc32c(data))
    assert all(start == at for start, at in starts)
    layout, page_count = read_page_file_header(path)
    assert layout == PageLayout.raw(4096, TAG)
    pages = np.frombuffer(data, np.uint8).reshape(page_count + 1, 4096)
    assert [check(page, number - 1) for number, page in enumerate(pages)] == [PAGE_SOUND] * (page_count + 1)
    for offset in {0, total // 2, total - 1} if total else ():
        page, position = layout.payload_place(offset)
        assert pages[page + 1, position] == expected[offset]
    payload = pages[1:, 32:].reshape(-1)
    assert (payload[:total] == expected).all()
    assert not payload[total:].any()
    assert payload.size - total < 4064
