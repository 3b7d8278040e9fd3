"""Write the page files: vectors in slot order, links and representatives of each page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.coding import VectorCodes, lane_major
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.kernels.links import merge_pages
from pageann.storage.files import Files
from pageann.storage.format import LINK_COUNT_OFFSET, REP_COUNT_OFFSET, VECTOR_COUNT_OFFSET, PageLayout
from pageann.storage.manifest import FileEntry
from pageann.storage.pagefile import PageFileWriter

__all__ = ["PageLinks", "merge_links", "write_pages"]

Rows = npt.NDArray[np.int32]

_BLOCK_PAGES = 256
_MERGE_PAGES = 1024
_SECOND_HOP_WIDTH = 6


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Per page, best first: ``links`` pages and ``reps`` slots, int32, with their counts."""

    links: Rows
    link_counts: Rows
    reps: Rows
    rep_counts: Rows

    def heat(self) -> npt.NDArray[np.int64]:
        """How many pages link to each page: what is worth pinning first."""
        held = np.arange(self.links.shape[1]) < self.link_counts[:, None]
        return np.bincount(self.links[held], minlength=len(self.links))


def merge_links(
    neighbours: Rows,
    order: Rows,
    layout: PageLayout,
    threads: int,
    done: Callable[[int, int], None] | None = None,
) -> PageLinks:
    """Merge the members' neighbour lists into the links and representatives that ``layout`` has room for."""
    rows = len(order)
    pages = -(-rows // layout.capacity)
    slots = np.empty(rows, np.int32)
    slots[order] = np.arange(rows, dtype=np.int32)
    made = PageLinks(
        np.zeros((pages, layout.link_capacity), np.int32),
        np.zeros(pages, np.int32),
        np.zeros((pages, layout.rep_capacity), np.int32),
        np.zeros(pages, np.int32),
    )

    def piece(bounds: tuple[int, int]) -> None:
        merge_pages(
            neighbours, slots, order, layout.capacity, _SECOND_HOP_WIDTH, bounds[0], bounds[1],
            made.links, made.link_counts, made.reps, made.rep_counts,
        )  # fmt: skip

    run_pieces(piece, ranges(pages, _MERGE_PAGES), threads, done)
    return made


def _put_u16(pages: npt.NDArray[np.uint8], offset: int, values: npt.NDArray[Any]) -> None:
    pages[:, offset : offset + 2] = values.astype("<u2").view(np.uint8).reshape(-1, 2)


def _put(pages: npt.NDArray[np.uint8], offset: int, values: npt.NDArray[Any]) -> None:
    """Store one row of fixed-width numbers a page."""
    block = np.ascontiguousarray(values).view(np.uint8).reshape(len(pages), -1)
    pages[:, offset : offset + block.shape[1]] = block


def _put_reps(
    pages: npt.NDArray[np.uint8],
    layout: PageLayout,
    reps: Rows,
    counts: Rows,
    codes: npt.NDArray[np.uint8],
) -> None:
    held = np.arange(layout.rep_capacity) < counts[:, None]
    reps = np.sort(np.where(held, reps, np.iinfo(np.int32).max), axis=1)  # neighbours of one page together
    reps = np.where(held, reps, 0)
    _put(pages, layout.rep_slots_offset, reps.astype("<u4"))
    block = np.where(held[:, :, None], codes[reps], np.uint8(0)).reshape(-1, layout.rep_code_bytes)
    lanes = lane_major(block, layout.rep_capacity)
    _put(pages, layout.rep_codes_offset, lanes.reshape(len(pages), -1))
    _put_u16(pages, REP_COUNT_OFFSET, counts)


def write_pages(
    files: Files,
    path: Path,
    layout: PageLayout,
    vectors: Callable[[Rows], npt.NDArray[Any]],
    order: Rows,
    links: PageLinks | None = None,
    rep_codes: VectorCodes | None = None,
    done: Callable[[int, int], None] | None = None,
) -> FileEntry:
    """Write all pages of one file; ``vectors(rows)`` gives the stored form of rows."""
    rows = len(order)
    page_count = -(-rows // layout.capacity)
    row_type = "<u4" if layout.row_bytes == 4 else "<u8"
    with PageFileWriter(files, path, layout) as writer:
        for first, last in ranges(page_count, _BLOCK_PAGES):
            members = order[first * layout.capacity : last * layout.capacity]
            padding = (last - first) * layout.capacity - len(members)
            pages = np.zeros((last - first, layout.page_bytes), np.uint8)
            stored = np.ascontiguousarray(vectors(members)).view(np.uint8).reshape(len(members), -1)
            stored = np.concatenate([stored, np.zeros((padding, stored.shape[1]), np.uint8)])
            _put(pages, layout.vectors_offset, stored)
            numbers = np.concatenate([members.astype(row_type), np.zeros(padding, row_type)])
            _put(pages, layout.rows_offset, numbers)
            counts = np.full(last - first, layout.capacity)
            counts[-1] -= padding
            _put_u16(pages, VECTOR_COUNT_OFFSET, counts)
            if links is not None and layout.link_capacity:
                here = links.link_counts[first:last]
                held = np.arange(layout.link_capacity) < here[:, None]
                _put(pages, layout.links_offset, np.where(held, links.links[first:last], 0).astype("<u4"))
                _put_u16(pages, LINK_COUNT_OFFSET, here)
            if links is not None and rep_codes is not None and layout.rep_capacity:
                reps, rep_counts = links.reps[first:last], links.rep_counts[first:last]
                _put_reps(pages, layout, reps, rep_counts, rep_codes.codes)
            writer.append(pages)
            if done is not None:
                done(last, page_count)
        size, checksum = writer.close()
    return FileEntry(size, checksum)
