"""The layout of page files; ``docs/FORMAT.md`` draws it byte by byte.

A page file is a header page and then data pages. Data pages are counted from 0, here and everywhere:
page p lies at byte (p + 1) * page_bytes. Every page, the header page
too, opens with the same 32 bytes, so one check serves any single read of any page file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument
from pageann.storage.checksum import crc32c
from pageann.types import DTYPES, dtype_code, dtype_of_code

__all__ = [
    "CHUNK_LANES",
    "CRC_OFFSET",
    "FLAGS_OFFSET",
    "HEADER_PAGE",
    "LARGEST_PAGE_BYTES",
    "LINK_COUNT_OFFSET",
    "MAGIC_OFFSET",
    "NUMBER_OFFSET",
    "PAGE_FILE_VERSION",
    "PAGE_HEADER_BYTES",
    "PAGE_MAGIC",
    "REP_COUNT_OFFSET",
    "SMALLEST_PAGE_BYTES",
    "TAG_OFFSET",
    "VECTOR_COUNT_OFFSET",
    "PageLayout",
]

PAGE_FILE_VERSION = 1
SMALLEST_PAGE_BYTES = 4096
LARGEST_PAGE_BYTES = 65536

PAGE_MAGIC = int.from_bytes(b"PGAN", "little")
PAGE_HEADER_BYTES = 32
MAGIC_OFFSET = 0
CRC_OFFSET = 4
NUMBER_OFFSET = 8
"""The checksum covers the page from here to its end."""
VECTOR_COUNT_OFFSET = 16
LINK_COUNT_OFFSET = 18
REP_COUNT_OFFSET = 20
FLAGS_OFFSET = 22
TAG_OFFSET = 24
HEADER_PAGE = -1
"""The page number of the header page: 2^64 - 1 as it is stored."""
CHUNK_LANES = 32
"""Representatives whose codes lie side by side, one lane each."""

_LARGEST_TAG = 2**64 - 1
_PAGE_HEADER = struct.Struct("<IIQHHHHQ")
_FILE_HEADER = struct.Struct("<IIQIIIIIII")  # at PAGE_HEADER_BYTES of the header page


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Where everything lies on the pages of one file.

    A *raw* layout (:meth:`raw`) has no places: its pages carry any bytes after the page header.
    Raises InvalidArgument for sizes that do not fit the page.
    """

    page_bytes: int
    """Bytes of a page: 4096 * 2^k, up to 65536."""
    capacity: int
    """Places for vectors; 0 on raw pages."""
    dim: int
    """Elements of a vector."""
    dtype_code: int
    """Element type, as :func:`pageann.types.dtype_code` numbers it."""
    row_bytes: int
    """Bytes of a row number: 4 or 8; 0 on raw pages."""
    link_capacity: int
    """Places for links (uint32 page numbers)."""
    rep_capacity: int
    """Places for representatives."""
    rep_code_bytes: int
    """Bytes of the code of one representative."""
    tag: int
    """The number (uint64) of the segment, on each of its pages, so that a page of another index is found."""

    def __post_init__(self) -> None:
        pages = [SMALLEST_PAGE_BYTES << k for k in range(5)]
        if self.page_bytes not in pages:
            raise InvalidArgument(
                f"page_bytes={self.page_bytes}: a page is one of {', '.join(map(str, pages))} bytes"
            )
        if not 0 <= self.tag <= _LARGEST_TAG:
            raise InvalidArgument(f"tag={self.tag}: a tag is a number from 0 to 2^64 - 1")
        counts = (self.capacity, self.dim, self.link_capacity, self.rep_capacity, self.rep_code_bytes)
        if min(counts) < 0:
            raise InvalidArgument(f"{self}: no size may be negative")
        if self.is_raw:
            if any(counts) or self.dtype_code or self.row_bytes:
                raise InvalidArgument(f"{self}: a raw page (capacity 0) has no places of any kind")
            return
        if self.dim == 0 or not 0 <= self.dtype_code < len(DTYPES) or self.row_bytes not in (4, 8):
            raise InvalidArgument(f"{self}: dim is positive, dtype_code a known one, row_bytes 4 or 8")
        if self.used_bytes > self.page_bytes:
            raise InvalidArgument(
                f"{self.capacity} vectors of {self.vector_bytes} bytes, {self.link_capacity} links and "
                f"{self.rep_capacity} representatives of {self.rep_code_bytes} bytes take "
                f"{self.used_bytes} bytes and do not fit page_bytes={self.page_bytes}; "
                f"use larger pages or fewer of them"
            )

    @classmethod
    def of_vectors(
        cls, page_bytes: int, capacity: int, dim: int, dtype: np.dtype[Any], row_bytes: int, tag: int
    ) -> PageLayout:
        """Pages of exact vectors and their row numbers, without links or representatives."""
        return cls(page_bytes, capacity, dim, dtype_code(dtype), row_bytes, 0, 0, 0, tag)

    @classmethod
    def raw(cls, page_bytes: int, tag: int) -> PageLayout:
        """Pages that carry :attr:`payload_bytes` of anything after the page header."""
        return cls(page_bytes, 0, 0, 0, 0, 0, 0, 0, tag)

    @property
    def is_raw(self) -> bool:
        """Whether pages carry bytes without structure."""
        return self.capacity == 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the vectors."""
        return dtype_of_code(self.dtype_code)

    @property
    def vector_bytes(self) -> int:
        """Bytes of one vector."""
        return self.dim * self.dtype.itemsize

    @property
    def payload_bytes(self) -> int:
        """Bytes of a page after its header."""
        return self.page_bytes - PAGE_HEADER_BYTES

    @property
    def vectors_offset(self) -> int:
        """Where the first vector begins; they follow each other without gaps."""
        return PAGE_HEADER_BYTES

    @property
    def rows_offset(self) -> int:
        """Where the row numbers begin, aligned to their size."""
        return _aligned(self.vectors_offset + self.capacity * self.vector_bytes, self.row_bytes or 1)

    @property
    def links_offset(self) -> int:
        """Where the links begin."""
        return self.rows_offset + self.capacity * self.row_bytes

    @property
    def rep_slots_offset(self) -> int:
        """Where the slots (uint32) of the representatives begin."""
        return self.links_offset + 4 * self.link_capacity

    @property
    def rep_codes_offset(self) -> int:
        """Where the first chunk of codes begins."""
        return self.rep_slots_offset + 4 * self.rep_capacity

    @property
    def used_bytes(self) -> int:
        """Bytes of a page that have a meaning; the rest is zero."""
        if self.is_raw:
            return self.page_bytes
        return self.rep_codes_offset + self.rep_capacity * self.rep_code_bytes

    @property
    def rep_chunk_count(self) -> int:
        """Chunks of representatives' codes."""
        return -(-self.rep_capacity // CHUNK_LANES)

    def rep_chunk(self, chunk: int) -> tuple[int, int]:
        """(offset in the page, lanes) of a chunk: ``rep_code_bytes`` rows of one byte a lane."""
        offset = self.rep_codes_offset + chunk * CHUNK_LANES * self.rep_code_bytes
        return offset, min(CHUNK_LANES, self.rep_capacity - chunk * CHUNK_LANES)

    def page_offset(self, page: int) -> int:
        """Where a data page, or :data:`HEADER_PAGE`, begins in its file."""
        return (page + 1) * self.page_bytes

    def payload_place(self, offset: int) -> tuple[int, int]:
        """(data page, offset in it) of byte ``offset`` of what a file of raw pages carries."""
        page, position = divmod(offset, self.payload_bytes)
        return page, PAGE_HEADER_BYTES + position

    def to_header_page(self, page_count: int) -> bytes:
        """The header page (``page_bytes`` long) of a file of ``page_count`` data pages."""
        fields = _FILE_HEADER.pack(
            PAGE_FILE_VERSION,
            self.page_bytes,
            page_count,
            self.capacity,
            self.dim,
            self.dtype_code,
            self.row_bytes,
            self.link_capacity,
            self.rep_capacity,
            self.rep_code_bytes,
        )
        page = bytearray(self.page_bytes)
        page[PAGE_HEADER_BYTES : PAGE_HEADER_BYTES + len(fields)] = fields
        _PAGE_HEADER.pack_into(page, 0, PAGE_MAGIC, 0, HEADER_PAGE & _LARGEST_TAG, 0, 0, 0, 0, self.tag)
        struct.pack_into("<I", page, CRC_OFFSET, crc32c(memoryview(page)[NUMBER_OFFSET:]))
        return bytes(page)

    @classmethod
    def from_header_page(cls, data: bytes, file: str) -> tuple[PageLayout, int]:
        """(layout, number of data pages) from the first bytes of a page file.

        ``data`` is at least the header page; LARGEST_PAGE_BYTES of the file, or all of a shorter
        one, always are. ``file`` names it in errors: DamagedIndex, or FormatTooNew for a sound
        header of a later version or with an unknown flag.
        """
        if len(data) < SMALLEST_PAGE_BYTES:
            raise DamagedIndex(f"{file}: {len(data)} bytes are too few for a page file", file)
        magic, stored_crc, number, _, _, _, page_flags, tag = _PAGE_HEADER.unpack_from(data)
        version, page_bytes, page_count, *sizes = _FILE_HEADER.unpack_from(data, PAGE_HEADER_BYTES)
        if magic != PAGE_MAGIC:
            raise DamagedIndex(f"{file}: not a page file, or its first bytes are damaged", file)
        if not NUMBER_OFFSET < page_bytes <= len(data):
            raise DamagedIndex(f"{file}: the header page is damaged or cut short", file)
        if stored_crc != crc32c(memoryview(data)[NUMBER_OFFSET:page_bytes]):
            raise DamagedIndex(f"{file}: the header page does not match its checksum", file)
        if version > PAGE_FILE_VERSION or page_flags:
            raise FormatTooNew(f"{file}: written by a newer version of PageANN; upgrade to read it")
        if version == 0 or number != HEADER_PAGE & _LARGEST_TAG:
            raise DamagedIndex(f"{file}: its first page is not a header page", file)
        try:
            return cls(*[page_bytes, *sizes, tag]), page_count
        except InvalidArgument as error:
            raise DamagedIndex(f"{file}: the header page is not one of PageANN: {error}", file) from None


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
