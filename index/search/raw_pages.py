"""Read a file of raw pages where it is needed, each page checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex, IndexClosed
from pageann.index.ids_file import Section
from pageann.storage.files import storage_errors
from pageann.storage.format import PAGE_HEADER_BYTES
from pageann.storage.io.files import OpenedFile, open_for_reading
from pageann.storage.pagefile import read_page_file_header
from pageann.storage.pages import check_pages, page_fault

__all__ = ["RawPages", "Reads", "read_pages"]

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_LARGEST_READ_BYTES = 1 << 20


@dataclass(slots=True)
class Reads:
    """What was read: adjacent pages are one read."""

    count: int = 0
    bytes: int = 0

    @property
    def kib(self) -> float:
        """Size of all reads together."""
        return self.bytes / 1024


def read_pages(file: OpenedFile, path: Path, page_bytes: int, tag: int, first: int, pages: Bytes) -> None:
    """Fill ``pages``, uint8 (count, page_bytes), with data pages ``first``.. of a file, and check them.

    Raises StorageError, DamagedIndex or FormatTooNew, naming the file and the page; IndexClosed.
    """
    if file.fd < 0:
        raise IndexClosed(f"{path}: the index was closed; open it again")
    view = pages.reshape(-1).data
    done = 0
    with storage_errors("read", path):
        while done < len(view):
            got = os.preadv(file.fd, [view[done:]], (first + 1) * page_bytes + done)
            if got == 0:
                page = first + done // page_bytes
                raise DamagedIndex(
                    f"{path}: page {page} is cut short; build the index again", str(path), page
                )
            done += got
    faults = np.empty(len(pages), np.int64)
    check_pages(pages, first, np.uint64(tag), faults)
    for place in np.flatnonzero(faults)[:1]:
        raise page_fault(str(path), first + int(place), int(faults[place]))


class RawPages:
    """An open file of raw pages; several threads may read at a time.

    Raises DamagedIndex, FormatTooNew or StorageError, also when it is opened.
    """

    def __init__(self, path: Path, tag: int) -> None:
        self.layout, self.page_count = read_page_file_header(path)
        if not self.layout.is_raw or self.layout.tag != tag:
            raise DamagedIndex(f"{path}: belongs to another index", str(path))
        self.path = path
        self._file = open_for_reading(path, direct=False)

    def visit(self, pages: Int64s, reads: Reads) -> Iterator[tuple[slice, Bytes]]:
        """(places in ``pages``, what the page carries) of each distinct page, ascending.

        ``pages`` int64 ascending, repeats allowed. A page is read once, and adjacent ones together.
        """
        distinct, starts = np.unique(pages, return_index=True)
        bounds = [*starts.tolist(), len(pages)]
        for first, last in _runs(distinct, _LARGEST_READ_BYTES // self.layout.page_bytes):
            block = np.empty((last - first, self.layout.page_bytes), np.uint8)
            read_pages(
                self._file, self.path, self.layout.page_bytes, self.layout.tag, int(distinct[first]), block
            )
            reads.count += 1
            reads.bytes += block.nbytes
            for place in range(first, last):
                yield slice(bounds[place], bounds[place + 1]), block[place - first, PAGE_HEADER_BYTES:]

    def gather(self, section: Section, positions: Int64s, reads: Reads) -> npt.NDArray[Any]:
        """The numbers at ``positions`` int64 (m,) of a section."""
        values = np.empty(len(positions), section.dtype)
        per_page = self.layout.payload_bytes // section.dtype.itemsize
        ranking = np.argsort(positions, kind="stable")
        ranked = positions[ranking]
        for places, payload in self.visit(section.first_page + ranked // per_page, reads):
            values[ranking[places]] = payload.view(section.dtype)[ranked[places] % per_page]
        return values

    def read(self, section: Section) -> npt.NDArray[Any]:
        """All numbers of a section."""
        data = np.empty(section.bytes, np.uint8)
        pages = np.arange(section.first_page, section.first_page + section.page_count)
        at = 0
        for _, payload in self.visit(pages, Reads()):
            part = data[at : at + payload.size]
            part[:] = payload[: part.size]
            at += part.size
        return data.view(section.dtype)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _runs(pages: Int64s, most: int) -> Iterator[tuple[int, int]]:
    """``(first, last)`` places of runs of adjacent page numbers, at most ``most`` long."""
    breaks = (np.flatnonzero(np.diff(pages) != 1) + 1).tolist()
    for begin, end in zip([0, *breaks], [*breaks, len(pages)], strict=True):
        for first in range(begin, end, most):
            yield first, min(first + most, end)
