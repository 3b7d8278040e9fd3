"""Places on a page that overlap would let one array overwrite another, silently.

For any sizes that a layout accepts, its places must follow each other within the page and be aligned;
what does not fit must be refused, and a header page must bring back the layout it was made from.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument
from pageann.storage.checksum import crc32c
from pageann.storage.format import PAGE_HEADER_BYTES, PageLayout
from tests.reference.sample_index import sample_layout

PAGE_SIZES = [4096, 8192, 16384, 32768, 65536]


@st.composite
def layouts(draw: st.DrawFn) -> PageLayout:
    """Any layout that fits its page."""
    page_bytes = draw(st.sampled_from(PAGE_SIZES))
    tag = draw(st.integers(0, 2**64 - 1))
    if draw(st.integers(0, 9)) == 0:
        return PageLayout.raw(page_bytes, tag)
    sizes = {
        "dim": draw(st.integers(1, 300)),
        "capacity": draw(st.integers(1, 60)),
        "dtype_code": draw(st.integers(0, 3)),
        "row_bytes": draw(st.sampled_from([4, 8])),
        "link_capacity": draw(st.integers(0, 100)),
        "rep_capacity": draw(st.integers(0, 150)),
        "rep_code_bytes": draw(st.integers(0, 40)),
    }
    try:
        return PageLayout(page_bytes=page_bytes, tag=tag, **sizes)
    except InvalidArgument:
        assume(False)
        raise


@given(layouts())
def test_places_are_aligned_apart_and_within_the_page(layout: PageLayout) -> None:
    ends = [PAGE_HEADER_BYTES, layout.vectors_offset + layout.capacity * layout.vector_bytes]
    starts = [layout.vectors_offset, layout.rows_offset, layout.links_offset, layout.rep_slots_offset]
    ends += [
        layout.rows_offset + layout.capacity * layout.row_bytes,
        layout.links_offset + 4 * layout.link_capacity,
    ]
    assert all(start >= end for start, end in zip(starts, ends, strict=True))
    assert layout.rep_codes_offset >= layout.rep_slots_offset + 4 * layout.rep_capacity
    assert layout.used_bytes <= layout.page_bytes
    if not layout.is_raw:
        assert layout.rows_offset % layout.row_bytes == 0
        assert layout.links_offset % 4 == layout.rep_slots_offset % 4 == 0


@given(layouts())
def test_chunks_of_codes_tile_their_place(layout: PageLayout) -> None:
    at, lanes_left = layout.rep_codes_offset, layout.rep_capacity
    for chunk in range(layout.rep_chunk_count):
        offset, lanes = layout.rep_chunk(chunk)
        assert offset == at
        assert 1 <= lanes <= 32
        at += lanes * layout.rep_code_bytes
        lanes_left -= lanes
    assert lanes_left == 0
    assert layout.is_raw or at == layout.used_bytes


@given(layouts(), st.integers(0, 2**40))
def test_a_header_page_brings_back_its_layout(layout: PageLayout, page_count: int) -> None:
    page = layout.to_header_page(page_count)
    assert len(page) == layout.page_bytes
    assert PageLayout.from_header_page(page + b"what follows", "pages.bin") == (layout, page_count)


@given(st.integers(0, 10**7), st.sampled_from(PAGE_SIZES))
def test_the_place_of_a_raw_byte_is_on_a_payload(offset: int, page_bytes: int) -> None:
    layout = PageLayout.raw(page_bytes, 1)
    page, position = layout.payload_place(offset)
    assert page * layout.payload_bytes + position - PAGE_HEADER_BYTES == offset
    assert PAGE_HEADER_BYTES <= position < page_bytes


@pytest.mark.parametrize(
    "changes",
    [
        {"page_bytes": 4095},
        {"page_bytes": 131072},
        {"capacity": 108},
        {"capacity": -1},
        {"dim": 0},
        {"dtype_code": 4},
        {"row_bytes": 2},
        {"rep_capacity": 900},
        {"tag": 2**64},
        {"capacity": 0},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, int]) -> None:
    sound = {
        "page_bytes": 4096, "capacity": 107, "dim": 32, "dtype_code": 3, "row_bytes": 4,
        "link_capacity": 53, "rep_capacity": 0, "rep_code_bytes": 8, "tag": 0,
    }  # fmt: skip
    assert PageLayout(**sound).used_bytes == 4096
    with pytest.raises(InvalidArgument):
        PageLayout(**(sound | changes))


def patched_header(offset: int, form: str, value: int) -> bytes:
    """A header page with one field changed and a checksum that fits again."""
    page = bytearray(sample_layout().to_header_page(4))
    struct.pack_into(form, page, offset, value)
    struct.pack_into("<I", page, 4, crc32c(page[8:]))
    return bytes(page)


def test_a_newer_header_page_is_refused_as_such() -> None:
    for offset, form in ((32, "<I"), (22, "<H")):
        with pytest.raises(FormatTooNew, match="upgrade"):
            PageLayout.from_header_page(patched_header(offset, form, 2), "pages.bin")


@pytest.mark.parametrize(
    ("offset", "form", "value"), [(8, "<Q", 0), (32, "<I", 0), (48, "<I", 4000), (56, "<I", 9)]
)
def test_a_header_page_that_says_the_impossible_is_damaged(offset: int, form: str, value: int) -> None:
    with pytest.raises(DamagedIndex):
        PageLayout.from_header_page(patched_header(offset, form, value), "pages.bin")


def test_every_flipped_bit_of_a_header_page_is_found() -> None:
    page = sample_layout().to_header_page(4)
    generator = np.random.default_rng(3)
    for bit in [*range(80 * 8), *generator.integers(80 * 8, 4096 * 8, 200)]:
        damaged = bytearray(page)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(DamagedIndex):
            PageLayout.from_header_page(bytes(damaged), "pages.bin")


def test_a_header_page_cut_short_is_damaged() -> None:
    page = PageLayout.raw(8192, 1).to_header_page(4)
    for length in (0, 31, 4095, 4096, 8191):
        with pytest.raises(DamagedIndex):
            PageLayout.from_header_page(page[:length], "pages.bin")
