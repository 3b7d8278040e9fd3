"""Write a page file from the first page to the last, and read its header back."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pageann.errors import DamagedIndex, InvalidArgument
from pageann.storage.checksum import crc32c, crc32c_combine
from pageann.storage.files import Buffer, Files, flat_view, storage_errors
from pageann.storage.format import LARGEST_PAGE_BYTES, PAGE_HEADER_BYTES, PageLayout
from pageann.storage.pages import seal_pages

__all__ = ["PageFileWriter", "RawFileWriter", "read_page_file_header"]

_BLOCK_BYTES = 1 << 20


class PageFileWriter:
    """Writes blocks of pages in order; the header page comes last, so an unfinished file has none.

    As a context manager it closes the file: complete after :meth:`close`, abandoned otherwise.
    """

    def __init__(self, files: Files, path: Path, layout: PageLayout) -> None:
        self.layout = layout
        self.page_count = 0
        self._crc = 0
        self._file = files.create(path)
        self._file.seek(layout.page_offset(0))

    def append(self, pages: NDArray[np.uint8]) -> None:
        """Seal whole pages, uint8[count, page_bytes] with their counts set, and write them.

        The headers in ``pages`` are completed in place.
        """
        if pages.dtype != np.uint8 or pages.ndim != 2 or pages.shape[1] != self.layout.page_bytes:
            raise InvalidArgument(
                f"pages of type {pages.dtype} and shape {pages.shape}: expected uint8 and (count, "
                f"{self.layout.page_bytes})"
            )
        if not pages.flags.c_contiguous:
            raise InvalidArgument("pages must be C-contiguous; pass numpy.ascontiguousarray(pages)")
        seal_pages(pages, self.page_count, np.uint64(self.layout.tag))
        self._file.write(pages)
        self._crc = crc32c(pages, self._crc)
        self.page_count += pages.shape[0]

    def close(self) -> tuple[int, int]:
        """Write the header page and sync; (bytes, CRC32C) of the whole file."""
        header = self.layout.to_header_page(self.page_count)
        self._file.pwrite(header, 0)
        self._file.sync()
        self._file.close()
        data_bytes = self.page_count * self.layout.page_bytes
        return len(header) + data_bytes, crc32c_combine(crc32c(header), self._crc, data_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RawFileWriter:
    """Writes bytes of any kind over the payloads of raw pages, so that each piece read can be checked.

    Byte b of what is written lies where :meth:`PageLayout.payload_place` says; the last page ends in
    zeros. Use it as :class:`PageFileWriter`.
    """

    def __init__(self, files: Files, path: Path, page_bytes: int, tag: int) -> None:
        self.layout = PageLayout.raw(page_bytes, tag)
        self.written_bytes = 0
        self._pages = np.zeros((_BLOCK_BYTES // page_bytes, page_bytes), np.uint8)
        self._payloads = self._pages[:, PAGE_HEADER_BYTES:]
        self._block_bytes = self._payloads.size
        self._writer = PageFileWriter(files, path, self.layout)

    def write(self, data: Buffer) -> int:
        """Append ``data``; the offset of its first byte among all that was written."""
        start = self.written_bytes
        left = np.frombuffer(flat_view(data), np.uint8)
        while left.size:
            page, position = divmod(self.written_bytes % self._block_bytes, self.layout.payload_bytes)
            part = left[: self.layout.payload_bytes - position]
            self._payloads[page, position : position + part.size] = part
            self.written_bytes += part.size
            left = left[part.size :]
            if self.written_bytes % self._block_bytes == 0:
                self._flush(len(self._pages))
        return start

    def close(self) -> tuple[int, int]:
        """Write what is left and the header page, and sync; (bytes, CRC32C) of the whole file."""
        self._flush(-(-(self.written_bytes % self._block_bytes) // self.layout.payload_bytes))
        return self._writer.close()

    def _flush(self, page_count: int) -> None:
        self._writer.append(self._pages[:page_count])
        self._payloads[:page_count] = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


def read_page_file_header(path: Path) -> tuple[PageLayout, int]:
    """(layout, number of data pages) of a page file, whose length is checked against them.

    Raises StorageError, DamagedIndex or FormatTooNew.
    """
    with storage_errors("read", path), path.open("rb") as file:
        data = file.read(LARGEST_PAGE_BYTES)
        size_bytes = file.seek(0, 2)
    layout, page_count = PageLayout.from_header_page(data, str(path))
    expected_bytes = layout.page_offset(page_count)
    if size_bytes != expected_bytes:
        raise DamagedIndex(f"{path}: {size_bytes} bytes long, its header says {expected_bytes}", str(path))
    return layout, page_count
