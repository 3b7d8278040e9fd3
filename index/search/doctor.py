"""Examine an open index: its page graph, and whether its vectors are of a kind that is hard to search.

Everything is read in blocks of 1 MiB. What grows with the index is bounded: of the edges of each page so
many are held as fit, and those that do not are read again until nothing new is reached; vectors are
hashed range by range of their hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.doctor_report import GraphHealth
from pageann.errors import DamagedIndex
from pageann.index.kernels.doctor import count_edges, hash_vectors, pass_on
from pageann.index.kernels.reach import follow_edges
from pageann.index.search.entry_pages import entry_pages
from pageann.index.search.load import LoadedSegment
from pageann.index.search.page_reads import LARGEST_READ_BYTES, PageSource, Reads
from pageann.index.search.records import RecordReader
from pageann.index.segment_files import PAGES_FILE
from pageann.storage.format import (
    LINK_COUNT_OFFSET,
    PAGE_HEADER_BYTES,
    REP_COUNT_OFFSET,
    VECTOR_COUNT_OFFSET,
)

__all__ = ["EXAMINATION_BYTES", "Duplicates", "ExaminedVectors", "Norms", "examine_graph", "examine_vectors"]

EXAMINATION_BYTES = 64 << 20
"""What an examination may hold; the least for a very large index is some 44 bytes a page."""
_PAGE_BYTES_HELD = 36
"""Of each page, beside its targets: degree, mark, parent, place in the queue, count."""
_LEAST_TARGETS = 2
_SHOWN_LOST = 10
_PERCENTILES = (1, 10, 50, 90, 99)
_COPIES = 6
"""Blocks of one read that are held at once, with what is taken from them."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows that equal an earlier one, and the size of the largest group of equals."""

    rows: int
    largest_group: int


@dataclass(frozen=True, slots=True)
class Norms:
    """Lengths of all vectors."""

    mean: float
    deviation: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class ExaminedVectors:
    """What reading all vectors told, and what it took."""

    duplicates: Duplicates
    norms: Norms
    held_bytes: int
    read_bytes: int


@dataclass(frozen=True, slots=True)
class _Edges:
    """What the pages from ``first`` on tell of others."""

    first: int
    vectors: Int64s
    links: npt.NDArray[np.uint32]
    link_counts: Int64s
    reps: npt.NDArray[np.uint32]
    rep_counts: Int64s

    @property
    def arrays(self) -> tuple[npt.NDArray[np.uint32], Int64s, npt.NDArray[np.uint32], Int64s]:
        return self.links, self.link_counts, self.reps, self.rep_counts


class _PageGraph:
    """The pages that a search walks, read block by block."""

    def __init__(self, segment: LoadedSegment, reads: Reads) -> None:
        layout = segment.layouts[PAGES_FILE]
        self.capacity = layout.capacity
        self.page_count = segment.shape.page_count(segment.entry.rows)
        self._layout = layout
        self._path = segment.folder / PAGES_FILE
        self._source = PageSource(self._path, segment.files[PAGES_FILE], layout.page_bytes, layout.tag)
        self._reads = reads

    def blocks(self) -> Iterator[_Edges]:
        """Edges of all pages, in order; one block is valid until the next."""
        layout = self._layout
        for first, block in self._source.span(0, self.page_count, self._reads):
            yield _Edges(
                first,
                _counts(block, VECTOR_COUNT_OFFSET),
                _numbers(block, layout.links_offset, layout.link_capacity),
                _counts(block, LINK_COUNT_OFFSET),
                _numbers(block, layout.rep_slots_offset, layout.rep_capacity),
                _counts(block, REP_COUNT_OFFSET),
            )

    def damaged(self, first: int) -> DamagedIndex:
        """For edges to pages that are not there."""
        return DamagedIndex(
            f"{self._path}: a page from {first} on has an edge to a page that is none; "
            "restore a copy of the index or build it again",
            str(self._path),
            first,
        )


def _counts(block: npt.NDArray[np.uint8], offset: int) -> Int64s:
    return block[:, offset : offset + 2].copy().view("<u2")[:, 0].astype(np.int64)


def _numbers(block: npt.NDArray[np.uint8], offset: int, width: int) -> npt.NDArray[np.uint32]:
    if width == 0:
        return np.empty((len(block), 0), np.uint32)
    return block[:, offset : offset + 4 * width].copy().view(np.uint32)


def examine_graph(segment: LoadedSegment, reads: Reads) -> tuple[GraphHealth, int]:
    """(health of the page graph, bytes held). Raises DamagedIndex, StorageError, IndexClosed."""
    graph = _PageGraph(segment, reads)
    layout, pages = segment.layouts[PAGES_FILE], graph.page_count
    entries = entry_pages(segment.shape, segment.entry.rows)
    room = (EXAMINATION_BYTES - _COPIES * LARGEST_READ_BYTES - _PAGE_BYTES_HELD * pages) // (4 * pages)
    width = max(_LEAST_TARGETS, min(room, layout.link_capacity + layout.rep_capacity))
    targets = np.empty((pages, width), np.int32)
    target_counts = np.zeros(pages, np.int64)
    in_degree, seen = np.zeros(pages, np.int64), np.full(pages, -1, np.int64)
    held = np.zeros(3, np.int64)
    for edges in graph.blocks():
        if not count_edges(
            *edges.arrays, graph.capacity, edges.first, seen, in_degree, targets, target_counts
        ):
            raise graph.damaged(edges.first)
        held += [edges.vectors.sum(), edges.link_counts.sum(), edges.rep_counts.sum()]
    all_held = width >= layout.link_capacity + layout.rep_capacity
    parents = _reach(graph, entries, targets, target_counts, all_held=all_held)
    lost = np.flatnonzero(parents < 0)
    places = pages * np.array([layout.capacity, layout.link_capacity, layout.rep_capacity], np.int64)
    sizes = np.array([layout.vector_bytes + layout.row_bytes, 4, 4 + layout.rep_code_bytes], np.int64)
    fill = np.where(places > 0, held / np.maximum(places, 1), 1.0)
    used = PAGE_HEADER_BYTES * pages + int(held @ sizes)
    shares = np.percentile(in_degree, _PERCENTILES, method="lower").astype(np.int64).tolist()
    tail = [("least", int(in_degree.min()))]
    tail += [(f"{share} %", count) for share, count in zip(_PERCENTILES, shares, strict=True)]
    tail += [("most", int(in_degree.max()))]
    health = GraphHealth(
        pages=pages,
        entry_pages=len(entries),
        reached_pages=pages - len(lost),
        lost_pages=tuple(lost[:_SHOWN_LOST].tolist()),
        vector_fill=float(fill[0]),
        link_fill=float(fill[1]),
        rep_fill=float(fill[2]),
        byte_fill=used / (pages * layout.page_bytes),
        out_degree=float(in_degree.sum() / pages),
        in_degree=tuple(tail),
        pages_without_in_edges=int((in_degree == 0).sum()),
    )
    return health, targets.nbytes + _PAGE_BYTES_HELD * pages + _COPIES * LARGEST_READ_BYTES


def _reach(
    graph: _PageGraph,
    entries: Int64s,
    targets: npt.NDArray[np.int32],
    target_counts: Int64s,
    *,
    all_held: bool,
) -> npt.NDArray[np.int32]:
    """From which page each page was reached first; -1: from none."""
    pages = len(targets)
    parents, queue = np.full(pages, -1, np.int32), np.empty(pages, np.int32)
    parents[entries] = entries
    queue[: len(entries)] = entries
    none = np.empty((pages, 0), np.int32), np.zeros(pages, np.int64)
    head, tail = 0, len(entries)
    while True:
        while head < tail:
            head, tail = follow_edges(
                targets, target_counts, *none, graph.capacity, parents, queue, head, tail, pages
            )
        if tail == pages or all_held:
            return parents
        for edges in graph.blocks():  # edges that are not held
            tail = pass_on(*edges.arrays, graph.capacity, edges.first, parents, queue, tail)
        if head == tail:
            return parents


def examine_vectors(records: RecordReader) -> ExaminedVectors:
    """Equal vectors and lengths; reads all once, or a few times over where hashes do not fit.

    Equality is that of 64-bit hashes of the bytes. Raises DamagedIndex, StorageError, IndexClosed.
    """
    ranges = max(1, -(-records.rows * 8 // (EXAMINATION_BYTES // 6)))
    duplicates = largest = held = 0
    norms = None
    for number in range(ranges):
        if norms is None:
            hashes, norms = _hashes_and_norms(records, ranges)
        else:
            hashes = np.concatenate([part for part, _ in _hashed(records, number, ranges)])
        hashes.sort()
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        if len(hashes):
            groups = np.diff(np.concatenate([starts, [len(hashes)]]))
            largest = max(largest, int(groups.max()))
            duplicates += len(hashes) - len(groups)
        held = max(held, 5 * hashes.nbytes)
    assert norms is not None
    return ExaminedVectors(
        Duplicates(duplicates, largest),
        norms,
        held + _COPIES * LARGEST_READ_BYTES,
        ranges * records.page_count * records.layout.page_bytes,
    )


def _hashed(
    records: RecordReader, number: int, ranges: int
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.generic]]]:
    """(hashes of the range ``number`` of ``ranges``, vectors) of every block."""
    for _, vectors in records.pages(0, records.page_count):
        data = np.ascontiguousarray(vectors).view(np.uint8).reshape(len(vectors), -1)
        hashes = np.empty(len(vectors), np.uint64)
        hash_vectors(data, hashes)
        if ranges > 1:
            chosen = (hashes >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)
            hashes = hashes[chosen == number]
        yield hashes, vectors


def _hashes_and_norms(records: RecordReader, ranges: int) -> tuple[npt.NDArray[np.uint64], Norms]:
    """Those of the first range, and the lengths of all vectors."""
    parts, sums, least, most = [], np.zeros(2), np.inf, 0.0
    for hashes, vectors in _hashed(records, 0, ranges):
        wide = vectors.astype(np.float32, copy=False)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide), dtype=np.float64)
        sums += [lengths.sum(), (lengths * lengths).sum()]
        least, most = min(least, float(lengths.min())), max(most, float(lengths.max()))
        parts.append(hashes)
    mean = sums[0] / records.rows
    deviation = float(np.sqrt(max(0.0, sums[1] / records.rows - mean * mean)))
    return np.concatenate(parts), Norms(float(mean), deviation, least, most)
