"""Find every damaged byte of an index.

Each file is read once, in blocks: the checksum of the whole file decides, and the checks of its
pages or arrays say where the damage lies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pageann.errors import DamagedIndex, PageANNError
from pageann.storage.bundle import BUNDLE_MAGIC, Bundle
from pageann.storage.checksum import crc32c
from pageann.storage.directory import IndexDirectory, is_own_name
from pageann.storage.files import storage_errors
from pageann.storage.format import (
    FLAGS_OFFSET,
    HEADER_PAGE,
    LARGEST_PAGE_BYTES,
    PAGE_MAGIC,
    VECTOR_COUNT_OFFSET,
    PageLayout,
)
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from pageann.storage.pages import PAGE_BAD_COUNT, PAGE_SOUND, check_pages, describe_page_fault
from pageann.storage.revision import is_left_over

__all__ = ["Damage", "verify"]

_BLOCK_BYTES = 4 << 20
_LARGEST_REPORT = 1000
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """One thing that is not as it was written."""

    file: str
    """The file, relative to the index."""
    page: int
    """The data page, -1 where the damage is not on one."""
    what: str
    """What is wrong."""

    def __str__(self) -> str:
        place = self.file if self.page < 0 else f"{self.file}: page {self.page}"
        return f"{place}: {self.what}"


def verify(path: Path | str) -> list[Damage]:
    """All damage in the index at ``path``, sorted by file and page; empty for a sound one.

    Every byte of the current version is read, and files that do not belong there are reported;
    leftovers of an unfinished build or revision are not damage. At most 1000 damaged pages of a file
    are listed.
    Raises IndexNotFound, StorageError, or FormatTooNew where nothing is damaged.
    """
    directory = IndexDirectory(path)
    found: list[Damage] = []
    for _ in range(_ATTEMPTS):
        try:
            manifest = directory.current()
        except DamagedIndex as error:
            return [_as_damage(directory.path, error)]
        found = _verify_version(directory, manifest)
        if not found or not _was_replaced(directory, manifest):
            break
    return found


def _was_replaced(directory: IndexDirectory, manifest: Manifest) -> bool:
    """Whether another version was published meanwhile, and the files of this one removed."""
    try:
        return directory.current().version != manifest.version
    except PageANNError:
        return False


def _as_damage(index: Path, error: DamagedIndex) -> Damage:
    file = os.path.relpath(error.file, index)
    return Damage(file, error.page, str(error).removeprefix(f"{error.file}: "))


def _verify_version(directory: IndexDirectory, manifest: Manifest) -> list[Damage]:
    files = directory.files
    segments = {segment.name for segment in manifest.segments}
    names = files.names(directory.path)
    found = [_stray(name) for name in names if not is_own_name(name) and name not in segments]
    for segment in manifest.segments:
        if not files.is_directory(directory.path / segment.name):
            found.append(Damage(segment.name, -1, "the folder is missing"))
            continue
        present = set(files.names(directory.path / segment.name))
        strays = [name for name in present - segment.files.keys() if not is_left_over(name, segment.files)]
        found += [_stray(f"{segment.name}/{name}") for name in strays]
        for name, entry in segment.files.items():
            if name in present:
                found += _verify_file(directory, segment, name, entry)
            else:
                found.append(Damage(f"{segment.name}/{name}", -1, "the file is missing"))
    return sorted(found)


def _stray(file: str) -> Damage:
    return Damage(file, -1, "the file does not belong to the index")


def _verify_file(
    directory: IndexDirectory, segment: SegmentEntry, name: str, entry: FileEntry
) -> list[Damage]:
    """What is wrong with one file; the finest places that can be told."""
    path, label = directory.file_path(segment, name), f"{segment.name}/{name}"
    found: list[Damage] = []
    with storage_errors("read", path):
        size_bytes = path.stat().st_size
        if size_bytes != entry.bytes:
            found.append(Damage(label, -1, f"it is {size_bytes} bytes long instead of {entry.bytes}"))
        with path.open("rb") as file:
            start = file.read(LARGEST_PAGE_BYTES)
        pages = None
        try:
            pages = _page_check(start, label, segment)
            if start.startswith(BUNDLE_MAGIC):
                found += _verify_bundle(path, label)
        except DamagedIndex as error:
            found.append(Damage(label, -1, str(error).removeprefix(f"{error.file}: ")))
        crc = _read_through(path, pages)
    if pages is not None:
        found += pages.found
    if crc != entry.crc32c and not found:
        found.append(Damage(label, -1, "it does not match its checksum in the manifest"))
    return found


def _read_through(path: Path, pages: _PageCheck | None) -> int:
    """The CRC32C of a file, whose pages are checked on the way where it has any."""
    block = bytearray(_BLOCK_BYTES)
    crc = 0
    with path.open("rb", buffering=0) as file:
        while count := _read_block(file.fileno(), block):
            view = memoryview(block)[:count]
            crc = crc32c(view, crc)
            if pages is not None:
                pages.absorb(np.frombuffer(view, np.uint8))
    return crc


def _read_block(fd: int, block: bytearray) -> int:
    """Fill ``block`` from where the file stands; fewer bytes only at its end."""
    done = 0
    while done < len(block) and (count := os.readv(fd, [memoryview(block)[done:]])):
        done += count
    return done


def _verify_bundle(path: Path, label: str) -> list[Damage]:
    found = []
    with Bundle.open(path) as bundle:
        for name in bundle.names():
            try:
                bundle.check(name)
            except DamagedIndex:
                found.append(Damage(label, -1, f"array {name!r} does not match its checksum"))
    return found


def _page_check(start: bytes, label: str, segment: SegmentEntry) -> _PageCheck | None:
    """The check of a page file that begins with ``start``; None for other files."""
    if not start.startswith(PAGE_MAGIC.to_bytes(4, "little")):
        return None
    layout, page_count = PageLayout.from_header_page(start, label)
    if layout.tag != segment.tag:
        raise DamagedIndex(f"{label}: the file belongs to another index", label)
    return _PageCheck(label, layout, page_count)


class _PageCheck:
    """Checks the pages of one file as its blocks pass by."""

    def __init__(self, label: str, layout: PageLayout, page_count: int) -> None:
        self.found: list[Damage] = []
        self._label = label
        self._layout = layout
        self._page_count = page_count
        self._next_page = HEADER_PAGE

    def absorb(self, data: NDArray[np.uint8]) -> None:
        """Check the whole pages of the next block, which begins with a page."""
        count = data.size // self._layout.page_bytes
        pages = data[: count * self._layout.page_bytes].reshape(count, self._layout.page_bytes)
        faults = np.zeros(count, np.int64)
        check_pages(pages, self._next_page, np.uint64(self._layout.tag), faults)
        places = (self._layout.capacity, self._layout.link_capacity, self._layout.rep_capacity)
        counts = pages[:, VECTOR_COUNT_OFFSET:FLAGS_OFFSET].view("<u2")
        faults[(faults == PAGE_SOUND) & (counts > places).any(axis=1)] = PAGE_BAD_COUNT
        for row in np.flatnonzero(faults):
            self._report(self._next_page + int(row), int(faults[row]))
        self._next_page += count

    def _report(self, page: int, fault: int) -> None:
        if len(self.found) < _LARGEST_REPORT and page < self._page_count:
            self.found.append(Damage(self._label, page, describe_page_fault(fault)))
