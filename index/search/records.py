"""The exact vectors of a segment, as they were given: by slot, all of them, and the nearest of all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.datasets.writers import write_vectors
from pageann.errors import DamagedIndex, InvalidArgument
from pageann.index.kernels.exact_scan import Nearest, ScanLayout, ScanQueries, inverse_norms, scan_block
from pageann.index.search.load import LoadedSegment
from pageann.index.search.page_reads import PageSource, Reads
from pageann.index.search.row_order import RowsDiffer, in_row_order
from pageann.index.segment_files import PAGES_FILE, VECTORS_FILE
from pageann.storage.format import VECTOR_COUNT_OFFSET, PageLayout
from pageann.storage.io.files import OpenedFile
from pageann.storage.pages import PAGE_BAD_COUNT, page_fault
from pageann.types import Metric

__all__ = ["RecordReader"]

Int64s = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]


class RecordReader:
    """Reads the page file that holds exact vectors; several threads may read at a time.

    Every page is checked before it is used: DamagedIndex names the file and the page. Pages are read
    in blocks of 1 MiB at most; the file stays with the segment, which closes it. The ``copy_pages`` behind
    those of the slots tell nothing that those do not: they are left alone.
    """

    def __init__(
        self, path: Path, file: OpenedFile, layout: PageLayout, rows: int, copy_pages: int = 0
    ) -> None:
        self.rows = rows
        self.layout = layout
        self.page_count = -(-rows // layout.capacity)
        self._source = PageSource(path, file, layout.page_bytes, layout.tag)
        if file.size_bytes != layout.page_offset(self.page_count + copy_pages):
            raise self._damaged(f"{file.size_bytes} bytes are not those of {rows:,} vectors")

    @classmethod
    def of_segment(cls, segment: LoadedSegment) -> Self:
        """The reader of an open segment."""
        name = VECTORS_FILE if segment.shape.quantised else PAGES_FILE
        reader = cls(
            segment.folder / name, segment.files[name], segment.layouts[name], segment.entry.rows,
            segment.shape.copy_pages,
        )  # fmt: skip
        if (reader.layout.dim, reader.layout.dtype) != (segment.entry.dim, np.dtype(segment.entry.dtype)):
            raise reader._damaged("its vectors are not those of the manifest")
        return reader

    def vectors_of_slots(self, slots: Int64s, reads: Reads | None = None) -> Vectors:
        """The vectors (m, dim), of the type that was given, in ``slots`` int64 (m,), repeats allowed.

        A page is read once, and adjacent ones together; what was read is added to ``reads``.
        """
        for slot in slots[(slots < 0) | (slots >= self.rows)][:1]:
            raise InvalidArgument(f"slot {slot}: the slots of this index are 0 to {self.rows - 1}")
        vectors = np.empty((len(slots), self.layout.dim), self.layout.dtype)
        ranking = np.argsort(slots, kind="stable")
        ranked = slots[ranking]
        pages = np.unique(ranked // self.layout.capacity)
        for first, block in self._source.runs(pages, Reads() if reads is None else reads):
            self._require_counts(first, block)
            begin, end = np.array([first, first + len(block)]) * self.layout.capacity
            places = slice(*np.searchsorted(ranked, [begin, end]).tolist())
            page, place = np.divmod(ranked[places] - begin, self.layout.capacity)
            vectors[ranking[places]] = self._vectors(block)[page, place]
        return vectors

    def pages(self, first: int, last: int) -> Iterator[tuple[Int64s, Vectors]]:
        """(rows int64 (m,), vectors (m, dim)) of data pages ``first`` to ``last`` - 1, in slot order.

        Blocks are those of reads of 1 MiB, and stay valid.
        """
        for rows, block in self._blocks(first, last):
            yield rows, self._vectors(block).copy().reshape(-1, self.layout.dim)[: len(rows)]

    def export(self, path: str | Path, ids: Any = None) -> None:
        """Write all vectors in the order of their rows to a file in the format that its suffix names.

        Formats with a column for ids (.parquet, .arrow, .feather) take ``ids``, one a row. Vectors lie
        scattered over the pages: they are sorted through a nameless file beside ``path``, of the size
        of all vectors and 8 bytes each, with some 50 MiB of RAM. Raises what
        ``pageann.datasets.writers.write_vectors`` does, StorageError and DamagedIndex.
        """
        layout, blocks = self.layout, self.pages(0, self.page_count)
        ordered = in_row_order(blocks, self.rows, layout.dim, layout.dtype, Path(path).absolute().parent)
        try:
            write_vectors(path, ordered, self.rows, layout.dim, ids=ids)
        except RowsDiffer:
            raise self._damaged("a row comes twice or not at all") from None

    def exact_scan(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        metric: Metric,
        *,
        integral: bool,
        threads: int = 1,
    ) -> tuple[Int64s, npt.NDArray[np.float64]]:
        """(rows int64 (q, k), distances float64 (q, k)) of the nearest of all rows to ``queries`` (q, dim).

        Sorted by (distance, row), padded with -1 and inf. Distances are those that a search returns;
        ``integral`` says that all queries are whole numbers. The result is the same for any number of
        ``threads``, each of which reads its share of the pages once, in order, and holds 1 MiB and 16
        bytes for each of q x k.
        """
        scan = _Scan(self, queries, k, metric, integral)
        bounds = np.linspace(0, self.page_count, max(1, min(threads, self.page_count)) + 1).astype(np.int64)
        shares = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
        if len(shares) == 1:
            return _merged([scan.run(*shares[0])], k)
        with ThreadPoolExecutor(len(shares), thread_name_prefix="pageann-scan") as pool:
            futures = [pool.submit(scan.run, first, last) for first, last in shares]
            try:
                return _merged([future.result() for future in futures], k)
            except BaseException:
                scan.stop.set()
                raise

    def _blocks(self, first: int, last: int) -> Iterator[tuple[Int64s, npt.NDArray[np.uint8]]]:
        """(rows, pages) of data pages ``first`` to ``last`` - 1; pages are valid until the next ones."""
        for page, block in self._source.span(first, last, Reads()):
            self._require_counts(page, block)
            yield self._row_numbers(page, block), block

    def _places(self, first: int, page_count: int) -> int:
        """How many vectors lie on ``page_count`` pages from ``first`` on."""
        capacity = self.layout.capacity
        return min(self.rows, (first + page_count) * capacity) - first * capacity

    def _require_counts(self, first: int, block: npt.NDArray[np.uint8]) -> None:
        counts = block[:, VECTOR_COUNT_OFFSET : VECTOR_COUNT_OFFSET + 2].copy().view("<u2")[:, 0]
        for place, count in enumerate(counts.tolist()):
            if count != self._places(first + place, 1):
                raise page_fault(str(self._source.path), first + place, PAGE_BAD_COUNT)

    def _row_numbers(self, first: int, block: npt.NDArray[np.uint8]) -> Int64s:
        layout = self.layout
        data = block[:, layout.rows_offset : layout.rows_offset + layout.capacity * layout.row_bytes]
        stored = np.ascontiguousarray(data).view(f"<u{layout.row_bytes}").reshape(-1)
        rows = stored[: self._places(first, len(block))].astype(np.int64)
        for place in np.flatnonzero((rows < 0) | (rows >= self.rows))[:1]:
            page = first + int(place) // layout.capacity
            raise self._damaged(f"page {page} names row {stored[place]}, which is none of the index", page)
        return rows

    def _vectors(self, block: npt.NDArray[np.uint8]) -> Vectors:
        """A view (page, place, dim) of the places for vectors."""
        layout = self.layout
        end = layout.vectors_offset + layout.capacity * layout.vector_bytes
        return (
            block[:, layout.vectors_offset : end].view(layout.dtype).reshape(len(block), layout.capacity, -1)
        )

    def _damaged(self, what: str, page: int = -1) -> DamagedIndex:
        path = self._source.path
        return DamagedIndex(f"{path}: {what}; restore a copy of the index or build it again", str(path), page)


class _Scan:
    """What the threads of one exact scan share."""

    def __init__(
        self,
        reader: RecordReader,
        queries: npt.NDArray[np.float32],
        k: int,
        metric: Metric,
        integral: bool,
    ) -> None:
        layout = reader.layout
        values = np.ascontiguousarray(queries, np.float64)
        integers = values.astype(np.int32) if integral else np.zeros(values.shape, np.int32)
        norms = np.empty(len(values), np.float64)
        inverse_norms(values, norms)
        self.stop = Event()
        """Set: every thread ends after the block that it has."""
        self._reader = reader
        self._k = k
        self._queries = ScanQueries(values, integers, norms)
        self._layout = ScanLayout(
            layout.vectors_offset, layout.vector_bytes, layout.capacity, layout.dim, layout.dtype_code,
            int(metric), int(integral),
        )  # fmt: skip

    def run(self, first: int, last: int) -> Nearest:
        """The nearest rows on data pages ``first`` to ``last`` - 1."""
        shape = (len(self._queries.values), self._k)
        nearest = Nearest(np.full(shape, np.inf), np.full(shape, -1), np.zeros(shape[0], np.int64))
        try:
            for rows, block in self._reader._blocks(first, last):
                if self.stop.is_set():
                    break
                scan_block(self._layout, block, rows, self._queries, nearest)
        except BaseException:
            self.stop.set()
            raise
        return nearest


def _merged(parts: list[Nearest], k: int) -> tuple[Int64s, npt.NDArray[np.float64]]:
    """The first ``k`` of all parts by (distance, row)."""
    if len(parts) == 1:
        return parts[0].rows, parts[0].distances
    rows = np.concatenate([part.rows for part in parts], axis=1)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    ranking = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, ranking, axis=1), np.take_along_axis(distances, ranking, axis=1)
