"""Read a file of raw pages where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex
from pageann.index.ids_file import Section
from pageann.index.search.page_reads import PageSource, Reads
from pageann.storage.arrays import Take, file_key, own_array
from pageann.storage.format import PAGE_HEADER_BYTES
from pageann.storage.io.files import open_for_reading
from pageann.storage.pagefile import read_page_file_header

__all__ = ["RawPages"]

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


_LARGEST_READ_BYTES = 1 << 16
"""Reads of ids are part of searches, whose memory budget does not provide for much beside them."""


class RawPages:
    """An open file of raw pages, read through the page cache; several threads may read at a time.

    Raises DamagedIndex, FormatTooNew or StorageError, also when it is opened.
    """

    def __init__(self, path: Path, tag: int) -> None:
        self.layout, self.page_count = read_page_file_header(path)
        if not self.layout.is_raw or self.layout.tag != tag:
            raise DamagedIndex(f"{path}: belongs to another index", str(path))
        self.path = path
        self._file = open_for_reading(path, direct=False)
        self._source = PageSource(path, self._file, self.layout.page_bytes, tag, _LARGEST_READ_BYTES)

    def visit(self, pages: Int64s, reads: Reads) -> Iterator[tuple[slice, Bytes]]:
        """(places in ``pages``, what the page carries) of each distinct page, ascending.

        ``pages`` int64 (m,) ascend, repeats allowed. What a page carries is valid until the next one is
        asked for.
        """
        distinct, starts = np.unique(pages, return_index=True)
        bounds = [*starts.tolist(), len(pages)]
        at = 0
        for _, block in self._source.runs(distinct, reads):
            for page in block:
                yield slice(bounds[at], bounds[at + 1]), page[PAGE_HEADER_BYTES:]
                at += 1

    def gather(self, section: Section, positions: Int64s, reads: Reads) -> npt.NDArray[Any]:
        """The numbers at ``positions`` int64 (m,) of a section."""
        values = np.empty(len(positions), section.dtype)
        per_page = self.layout.payload_bytes // section.dtype.itemsize
        ranking = np.argsort(positions, kind="stable")
        ranked = positions[ranking]
        for places, payload in self.visit(section.first_page + ranked // per_page, reads):
            values[ranking[places]] = payload.view(section.dtype)[ranked[places] % per_page]
        return values

    def read(self, section: Section, take: Take = own_array) -> npt.NDArray[Any]:
        """All numbers of a section, in memory from ``take``."""
        pages = np.arange(section.first_page, section.first_page + section.page_count)

        def fill(data: Bytes) -> None:
            at = 0
            for _, payload in self.visit(pages, Reads()):
                part = data[at : at + payload.size]
                part[:] = payload[: part.size]
                at += part.size

        return take(f"{file_key(self.path, self._file.fd)}:{section.offset}", section.bytes, fill).view(
            section.dtype
        )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
