"""What the files of an index take on disk, and how many pages of copies an allowance pays for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pageann.index.ids_file import ID_PAGE_BYTES, ID_PAYLOAD_BYTES, unsigned_type
from pageann.index.search.planner import predicted_array_bytes
from pageann.index.segment_files import PLACE_SLACK_BYTES, Shape, place_bytes

__all__ = ["DiskRoom", "index_bytes", "most_id_bytes"]

_SMALL_FILES_BYTES = 32_768
"""Manifest, calibration, and the headers and directories of the other files: 10 to 25 KiB."""
_PIN_ORDERS = 2
"""The order of the build, and one that takes its place in an index that was optimized."""
_SECTION_PAGES = 2
"""Of the file of ids, for each section: one page that is not full, and one for the levels above its keys."""


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """What an index may take on disk."""

    bytes: int
    id_bytes: int
    """Of it, for ``ids.bin``."""

    def copy_pages(self, shape: Shape, rows: int, dim: int, rotated: frozenset[str]) -> int:
        """Pages of copies that there is room for, beside the table that finds them."""
        most = rows // shape.capacity
        table = place_bytes(most) * rows + PLACE_SLACK_BYTES
        left = self.bytes - index_bytes(shape, rows, dim, rotated, self.id_bytes) - table
        return max(0, min(most, left // shape.page_bytes))


def index_bytes(shape: Shape, rows: int, dim: int, rotated: frozenset[str], id_bytes: int) -> int:
    """Bytes of all files of an index; none takes more, nor once it was tuned and optimized."""
    arrays = predicted_array_bytes(shape, rows, dim, rotated)
    pages = shape.page_count(rows)
    held = arrays["router"] + _PIN_ORDERS * 4 * pages
    held += arrays["reps"] + arrays.get("copies", 0) + sum(arrays["codes"].values())
    exact = (1 + -(-rows // shape.exact_capacity)) * shape.exact_page_bytes if shape.quantised else 0
    walked = (1 + pages + shape.copy_pages) * shape.page_bytes
    return int(walked + exact + held + id_bytes + _SMALL_FILES_BYTES)


def most_id_bytes(ids: Any, rows: int) -> int:
    """Bytes that ``ids.bin`` takes at most: ``ids`` int64 (rows,), a list of str, or None for row numbers."""
    row_bytes = int(unsigned_type(rows)[-1])
    sections = [row_bytes * rows]
    if isinstance(ids, list):
        text = sum(len(each.encode()) for each in ids)
        sections += [int(unsigned_type(text)[-1]) * (rows + 1), text]
    elif ids is not None:
        sections.append(8 * rows)
    if ids is not None:
        sections += [8 * rows, 8 * rows // 500, row_bytes * rows]
    pages = sum(-(-size // ID_PAYLOAD_BYTES) + _SECTION_PAGES for size in sections)
    return (1 + pages) * ID_PAGE_BYTES
