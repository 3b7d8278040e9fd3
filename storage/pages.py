"""Seal pages before they are written, check them after they were read.

The two are a pair: what :func:`seal_pages` puts into a page header is what :func:`check_page`
demands of it. Both are kernels; the search loop calls :func:`check_page` on each page it reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pageann.errors import DamagedIndex, FormatTooNew, PageANNError
from pageann.jit import kernel
from pageann.storage.checksum_kernels import crc32c_address
from pageann.storage.format import (
    CRC_OFFSET,
    FLAGS_OFFSET,
    LINK_COUNT_OFFSET,
    MAGIC_OFFSET,
    NUMBER_OFFSET,
    PAGE_MAGIC,
    REP_COUNT_OFFSET,
    TAG_OFFSET,
    VECTOR_COUNT_OFFSET,
)
from pageann.storage.memory import load_u16, load_u32, load_u64, store_u16, store_u32, store_u64

__all__ = [
    "PAGE_BAD_CHECKSUM",
    "PAGE_BAD_COUNT",
    "PAGE_BAD_MAGIC",
    "PAGE_SOUND",
    "PAGE_UNKNOWN_FLAG",
    "PAGE_WRONG_NUMBER",
    "PAGE_WRONG_TAG",
    "check_counts",
    "check_page",
    "check_pages",
    "describe_page_fault",
    "page_fault",
    "seal_pages",
    "set_counts",
]

PAGE_SOUND = 0
PAGE_BAD_MAGIC = 1
PAGE_BAD_CHECKSUM = 2
PAGE_WRONG_NUMBER = 3
PAGE_WRONG_TAG = 4
PAGE_UNKNOWN_FLAG = 5
PAGE_BAD_COUNT = 6

_FAULTS = {
    PAGE_BAD_MAGIC: "it does not begin as a page does",
    PAGE_BAD_CHECKSUM: "its bytes do not match its checksum",
    PAGE_WRONG_NUMBER: "another page lies in its place",
    PAGE_WRONG_TAG: "it belongs to another index",
    PAGE_UNKNOWN_FLAG: "it has a flag of a newer version",
    PAGE_BAD_COUNT: "it claims more entries than it has places",
}


@kernel
def seal_pages(pages: NDArray[np.uint8], first_page: int, tag: Any) -> None:
    """Complete the headers of whole pages in place: magic, number, tag, and last the checksum.

    ``pages`` is uint8[page count, page_bytes]; row i becomes data page ``first_page + i``. Counts
    must be set already (:func:`set_counts`).
    """
    page_bytes = pages.shape[1]
    for row in range(pages.shape[0]):
        address = np.int64(pages[row].ctypes.data)
        store_u32(address + MAGIC_OFFSET, np.uint32(PAGE_MAGIC))
        store_u64(address + NUMBER_OFFSET, np.uint64(first_page + row))
        store_u16(address + FLAGS_OFFSET, np.uint16(0))
        store_u64(address + TAG_OFFSET, np.uint64(tag))
        crc = crc32c_address(address + NUMBER_OFFSET, page_bytes - NUMBER_OFFSET)
        store_u32(address + CRC_OFFSET, np.uint32(crc))


@kernel
def check_page(address: int, page_bytes: int, page_number: int, tag: Any) -> int:
    """0 for a sound page at ``address``, else the code of the first thing wrong with it.

    ``page_number`` is the data page asked for (or HEADER_PAGE), ``tag`` that of the segment.
    """
    if load_u32(address + MAGIC_OFFSET) != np.uint32(PAGE_MAGIC):
        return PAGE_BAD_MAGIC
    if crc32c_address(address + NUMBER_OFFSET, page_bytes - NUMBER_OFFSET) != load_u32(address + CRC_OFFSET):
        return PAGE_BAD_CHECKSUM
    if load_u64(address + NUMBER_OFFSET) != np.uint64(page_number):
        return PAGE_WRONG_NUMBER
    if load_u64(address + TAG_OFFSET) != np.uint64(tag):
        return PAGE_WRONG_TAG
    if load_u16(address + FLAGS_OFFSET) != 0:
        return PAGE_UNKNOWN_FLAG
    return PAGE_SOUND


@kernel
def check_counts(address: int, capacity: int, link_capacity: int, rep_capacity: int) -> int:
    """0 where the counts of a page stay within its places, else PAGE_BAD_COUNT."""
    if np.int64(load_u16(address + VECTOR_COUNT_OFFSET)) > capacity:
        return PAGE_BAD_COUNT
    if np.int64(load_u16(address + LINK_COUNT_OFFSET)) > link_capacity:
        return PAGE_BAD_COUNT
    if np.int64(load_u16(address + REP_COUNT_OFFSET)) > rep_capacity:
        return PAGE_BAD_COUNT
    return PAGE_SOUND


@kernel
def check_pages(pages: NDArray[np.uint8], first_page: int, tag: Any, faults: NDArray[np.int64]) -> None:
    """Check each row of ``pages``, uint8[count, page_bytes]; the codes go to ``faults``, int64[count]."""
    for row in range(pages.shape[0]):
        address = np.int64(pages[row].ctypes.data)
        faults[row] = check_page(address, pages.shape[1], first_page + row, tag)


def set_counts(
    pages: NDArray[np.uint8], vector_counts: ArrayLike, link_counts: ArrayLike = 0, rep_counts: ArrayLike = 0
) -> None:
    """Write the counts of each page (one a row of ``pages``, or one number for all)."""
    counts = pages[:, VECTOR_COUNT_OFFSET:FLAGS_OFFSET].view("<u2")
    for column, values in enumerate((vector_counts, link_counts, rep_counts)):
        counts[:, column] = values


def describe_page_fault(code: int) -> str:
    """What a code of :func:`check_page` or :func:`check_counts` means, to follow 'page 7 is damaged: '."""
    return _FAULTS.get(code, "sound" if code == PAGE_SOUND else f"unknown fault {code}")


def page_fault(file: str, page: int, code: int) -> PageANNError:
    """The error to raise for a page that failed its check."""
    if code == PAGE_UNKNOWN_FLAG:
        return FormatTooNew(
            f"{file}: page {page} was written by a newer version of PageANN; upgrade to read it"
        )
    reason = describe_page_fault(code)
    message = f"{file}: page {page} is damaged: {reason}; restore a copy of the index or build it again"
    return DamagedIndex(message, file, page)
