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
from pageann.index.builder.residency import Pace, Residency
from pageann.index.kernels.links import merge_pages, vote_places
from pageann.storage.files import Files
from pageann.storage.format import LINK_COUNT_OFFSET, REP_COUNT_OFFSET, VECTOR_COUNT_OFFSET, PageLayout
from pageann.storage.manifest import FileEntry
from pageann.storage.pagefile import PageFileWriter

__all__ = ["LinkMerger", "PageLinks", "write_pages"]

Rows = npt.NDArray[np.int32]

_BLOCK_PAGES = 512
_MERGE_PAGES = 4
_GATHERED_ROWS = 4096
_SECOND_HOP_WIDTH = 6


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Of a run of pages, best first: ``links`` pages and ``reps`` slots, int32, with their counts."""

    links: Rows
    link_counts: Rows
    reps: Rows
    rep_counts: Rows

    def heat(self, pages: int) -> npt.NDArray[np.int64]:
        """How many of these pages link to each of all ``pages``: what is worth pinning first."""
        held = np.arange(self.links.shape[1]) < self.link_counts[:, None]
        return np.bincount(self.links[held], minlength=pages)

    def part(self, first: int, last: int) -> PageLinks:
        """Of the pages ``[first, last)`` of these, as views."""
        arrays = (self.links, self.link_counts, self.reps, self.rep_counts)
        return PageLinks(*(each[first:last] for each in arrays))


class LinkMerger:
    """Merges the members' neighbour lists into the links and representatives that a page has room for."""

    def __init__(
        self,
        neighbours: Rows,
        order: Rows,
        layout: PageLayout,
        threads: int,
        residency: Residency | None = None,
    ) -> None:
        self._neighbours = neighbours
        self._order = order
        self._layout = layout
        self._threads = threads
        self._pace = Pace(residency, _MERGE_PAGES)
        self._slots = np.empty(len(order), np.int32)
        self._slots[order] = np.arange(len(order), dtype=np.int32)
        self._places = vote_places(layout.capacity, neighbours.shape[1], _SECOND_HOP_WIDTH)

    def merge(self, first_page: int, last_page: int) -> PageLinks:
        """What the pages ``[first_page, last_page)`` tell of others."""
        count, layout = last_page - first_page, self._layout
        made = PageLinks(
            np.zeros((count, layout.link_capacity), np.int32),
            np.zeros(count, np.int32),
            np.zeros((count, layout.rep_capacity), np.int32),
            np.zeros(count, np.int32),
        )
        self.merge_into(made, first_page, last_page)
        return made

    def merge_into(
        self,
        made: PageLinks,
        first_page: int,
        last_page: int,
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        """:meth:`merge` into arrays of the caller, which may be mapped files."""

        def piece(bounds: tuple[int, int]) -> None:
            for first, last in self._pace.runs(*bounds):
                part = slice(first, last)
                merge_pages(
                    self._neighbours, self._slots, self._order, self._layout.capacity, _SECOND_HOP_WIDTH,
                    first_page + first, first_page + last, np.full(self._places, -1, np.int32),
                    made.links[part], made.link_counts[part], made.reps[part], made.rep_counts[part],
                )  # fmt: skip

        run_pieces(piece, ranges(last_page - first_page, _MERGE_PAGES), self._threads, done)


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


def _put_links(
    pages: npt.NDArray[np.uint8], layout: PageLayout, links: PageLinks, rep_codes: VectorCodes | None
) -> None:
    if layout.link_capacity:
        held = np.arange(layout.link_capacity) < links.link_counts[:, None]
        _put(pages, layout.links_offset, np.where(held, links.links, 0).astype("<u4"))
        _put_u16(pages, LINK_COUNT_OFFSET, links.link_counts)
    if rep_codes is not None and layout.rep_capacity:
        _put_reps(pages, layout, links.reps, links.rep_counts, rep_codes.codes)


def write_pages(
    files: Files,
    path: Path,
    layout: PageLayout,
    vectors: Callable[[Rows], npt.NDArray[Any]],
    order: Rows,
    rows_of: Rows | None = None,
    links: Callable[[int, int], PageLinks] | None = None,
    rep_codes: VectorCodes | None = None,
    done: Callable[[int, int], None] | None = None,
    residency: Residency | None = None,
    *,
    copied: Rows | None = None,
) -> FileEntry:
    """Write all pages of one file, block by block.

    ``vectors(order[a:b])`` gives the stored form of vectors, ``rows_of[order[a:b]]`` their rows
    (default: the same numbers), ``links(first, last)`` what the pages ``[first, last)`` tell of others.
    Pages with the vectors ``copied`` follow, which tell of no others.
    """
    row_type = "<u4" if layout.row_bytes == 4 else "<u8"
    pace = Pace(residency, _GATHERED_ROWS)
    blocks = [(order, *block) for block in ranges(-(-len(order) // layout.capacity), _BLOCK_PAGES)]
    if copied is not None:
        blocks += [(copied, *block) for block in ranges(-(-len(copied) // layout.capacity), _BLOCK_PAGES)]
    page_count = sum(last - first for _, first, last in blocks)
    finished = 0
    with PageFileWriter(files, path, layout) as writer:
        for vectors_of, first, last in blocks:
            members = vectors_of[first * layout.capacity : last * layout.capacity]
            padding = (last - first) * layout.capacity - len(members)
            pages = np.zeros((last - first, layout.page_bytes), np.uint8)
            stored = np.zeros((len(members) + padding, layout.vector_bytes), np.uint8)
            for low, high in pace.runs(0, len(members)):
                stored[low:high] = vectors(members[low:high]).view(np.uint8).reshape(high - low, -1)
            _put(pages, layout.vectors_offset, stored)
            numbers = members if rows_of is None else rows_of[members]
            numbers = np.concatenate([numbers.astype(row_type), np.zeros(padding, row_type)])
            _put(pages, layout.rows_offset, numbers)
            counts = np.full(last - first, layout.capacity)
            counts[-1] -= padding
            _put_u16(pages, VECTOR_COUNT_OFFSET, counts)
            if links is not None and vectors_of is order:
                _put_links(pages, layout, links(first, last), rep_codes)
            writer.append(pages)
            if residency is not None:
                residency.check()
            finished += last - first
            if done is not None:
                done(finished, page_count)
        size, checksum = writer.close()
    return FileEntry(size, checksum)
