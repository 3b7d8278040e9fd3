"""Read pages outside a search: sorted, each once, adjacent ones together, and every one checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex, IndexClosed
from pageann.storage.files import storage_errors
from pageann.storage.format import LARGEST_PAGE_BYTES
from pageann.storage.io.buffers import AlignedBuffer
from pageann.storage.io.faults import NO_FAULTS
from pageann.storage.io.files import OpenedFile
from pageann.storage.io.preadv import read_one
from pageann.storage.pages import check_pages, page_fault

__all__ = ["LARGEST_READ_BYTES", "PageSource", "Reads"]

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

LARGEST_READ_BYTES = 1 << 20
"""A multiple of every page size."""
assert LARGEST_READ_BYTES % LARGEST_PAGE_BYTES == 0


@dataclass(slots=True)
class Reads:
    """What was read; adjacent pages are one read."""

    count: int = 0
    bytes: int = 0

    @property
    def kib(self) -> float:
        """Size of all reads together."""
        return self.bytes / 1024


@dataclass(frozen=True, slots=True)
class PageSource:
    """The data pages of an open file; several threads may read at a time."""

    path: Path
    file: OpenedFile
    page_bytes: int
    tag: int
    largest_read_bytes: int = LARGEST_READ_BYTES

    def runs(self, pages: Int64s, reads: Reads) -> Iterator[tuple[int, Bytes]]:
        """(first page, uint8 (count, page_bytes)) of runs of adjacent pages, each of one read.

        ``pages`` int64 (m,) ascend without repeats. A block is valid until the next one is asked for.
        Raises IndexClosed, StorageError, and for the first page that is not sound DamagedIndex or
        FormatTooNew.
        """
        breaks = (np.flatnonzero(np.diff(pages) != 1) + 1).tolist()
        begins, ends = [0, *breaks], [*breaks, len(pages)]
        spans = (
            (int(pages[begin]), int(pages[end - 1]) + 1) for begin, end in zip(begins, ends, strict=True)
        )
        return self._blocks(spans if len(pages) else iter(()), len(pages), reads)

    def span(self, first: int, last: int, reads: Reads) -> Iterator[tuple[int, Bytes]]:
        """As :meth:`runs`, of all data pages ``first`` to ``last`` - 1."""
        return self._blocks(iter([(first, last)]), last - first, reads)

    def _blocks(
        self, spans: Iterator[tuple[int, int]], page_count: int, reads: Reads
    ) -> Iterator[tuple[int, Bytes]]:
        most = max(1, min(self.largest_read_bytes // self.page_bytes, page_count))
        with AlignedBuffer(most * self.page_bytes) as buffer:
            memory = buffer.array.reshape(most, self.page_bytes)
            for begin, end in spans:
                for first in range(begin, end, most):
                    block = memory[: min(most, end - first)]
                    self._read(first, block)
                    reads.count += 1
                    reads.bytes += block.nbytes
                    yield first, block

    def _read(self, first: int, block: Bytes) -> None:
        if self.file.fd < 0:
            raise IndexClosed(f"{self.path}: the index was closed; open it again")
        offset = (first + 1) * self.page_bytes
        result = read_one(self.file.fd, offset, block.nbytes, block.ctypes.data, NO_FAULTS)
        if result < 0:
            with storage_errors("read", self.path):
                raise OSError(-result, os.strerror(-result))
        if result < block.nbytes:
            page = first + result // self.page_bytes
            raise DamagedIndex(
                f"{self.path}: page {page} is cut short; restore a copy of the index or build it again",
                str(self.path),
                page,
            )
        faults = np.empty(len(block), np.int64)
        check_pages(block, first, np.uint64(self.tag), faults)
        for place in np.flatnonzero(faults)[:1]:
            raise page_fault(str(self.path), first + int(place), int(faults[place]))
