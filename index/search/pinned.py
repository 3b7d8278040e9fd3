"""Read the pages that stay in RAM."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex
from pageann.index.kernels.scan import LANES
from pageann.storage.arrays import Take, file_key, own_array
from pageann.storage.checksum import crc32c
from pageann.storage.files import flat_view, storage_errors
from pageann.storage.format import FLAGS_OFFSET, VECTOR_COUNT_OFFSET, PageLayout
from pageann.storage.pages import PAGE_BAD_COUNT, PAGE_SOUND, check_pages, page_fault

__all__ = ["read_pinned"]

_BLOCK_BYTES = 1 << 20


def _check(path: Path, layout: PageLayout, rows: int, first: int, pages: npt.NDArray[np.uint8]) -> None:
    """Demand of ``pages``, from page ``first`` on, what a search demands of each page that it reads."""
    faults = np.zeros(len(pages), np.int64)
    check_pages(pages, first, np.uint64(layout.tag), faults)
    counts = np.ascontiguousarray(pages[:, VECTOR_COUNT_OFFSET:FLAGS_OFFSET]).view("<u2")
    left = rows - (first + np.arange(len(pages))) * layout.capacity
    most = np.stack(
        np.broadcast_arrays(np.minimum(left, layout.capacity), layout.link_capacity, layout.rep_capacity)
    )
    faults[(faults == PAGE_SOUND) & (counts > most.T).any(axis=1)] = PAGE_BAD_COUNT
    for place in np.flatnonzero(faults)[:1]:
        raise page_fault(str(path), first + int(place), int(faults[place]))


def _run_length(numbers: npt.NDArray[np.int32], most: int) -> int:
    """How many of ``numbers``, up to ``most``, follow each other from the first on."""
    part = numbers[:most]
    return int(np.count_nonzero(np.logical_and.accumulate(part == part[0] + np.arange(len(part)))))


def _filled(fd: int, view: memoryview, offset: int) -> bool:
    """Fill ``view`` from the file; False where it ends before."""
    while view.nbytes:
        count = os.preadv(fd, [view], offset)
        if count == 0:
            return False
        view, offset = view[count:], offset + count
    return True


def read_pinned(
    path: Path, layout: PageLayout, rows: int, numbers: npt.NDArray[np.int32], take: Take = own_array
) -> npt.NDArray[np.uint8]:
    """The pages ``numbers`` (int32, ascending) of a segment of ``rows`` rows, one behind the other, checked.

    Raises DamagedIndex, FormatTooNew or StorageError.
    """
    most = max(1, _BLOCK_BYTES // layout.page_bytes)

    def fill(pinned: npt.NDArray[np.uint8]) -> None:
        view = flat_view(pinned)
        with storage_errors("read", path), path.open("rb", buffering=0) as file:
            done = 0
            while done < len(numbers):
                first, count = int(numbers[done]), _run_length(numbers[done:], most)
                place = slice(done * layout.page_bytes, (done + count) * layout.page_bytes)
                if not _filled(file.fileno(), view[place], layout.page_offset(first)):
                    raise DamagedIndex(
                        f"{path}: page {first} or one of the {count - 1} after it is cut short; "
                        "restore a copy of the index or build it again", str(path), first,
                    )  # fmt: skip
                _check(path, layout, rows, first, pinned[place].reshape(count, layout.page_bytes))
                done += count

    key = f"{file_key(path)}:pages:{crc32c(numbers):08x}"
    return take(key, len(numbers) * layout.page_bytes + LANES, fill)
