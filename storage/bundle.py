"""A container of named arrays, for what is read whole when an index is opened.

The header (64 bytes) leads to a JSON directory at the end of the file; the arrays lie between, each
at a multiple of 64 bytes. ``docs/FORMAT.md`` draws it. The same arrays and meta give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument
from pageann.storage.arrays import Take, file_key, own_array
from pageann.storage.canonical import canonical_json
from pageann.storage.checksum import crc32c, crc32c_combine
from pageann.storage.files import Files, flat_view, storage_errors

__all__ = [
    "BUNDLE_ALIGNMENT_BYTES",
    "BUNDLE_HEADER_BYTES",
    "BUNDLE_MAGIC",
    "BUNDLE_VERSION",
    "Bundle",
    "BundleWriter",
]

BUNDLE_MAGIC = b"PGBUNDLE"
BUNDLE_VERSION = 1
BUNDLE_HEADER_BYTES = 64
BUNDLE_ALIGNMENT_BYTES = 64

_HEADER = struct.Struct("<8sIIQQIIQ")  # magic, version, flags, directory offset, bytes, crc, 0, file bytes
_CRC = struct.Struct("<I")
_CRC_OFFSET = 60
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one array lies in the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    bytes: int
    crc32c: int


class BundleWriter:
    """Writes arrays one after another; the header comes last, so an unfinished file has none.

    As a context manager it closes the file: complete after :meth:`close`, abandoned otherwise.
    """

    def __init__(self, files: Files, path: Path, meta: Mapping[str, Any]) -> None:
        self._meta = dict(meta)
        self._entries: dict[str, _Entry] = {}
        self._open: _Entry | None = None
        self._open_name = ""
        self._open_bytes = 0
        self._array_crc = 0
        self._position = BUNDLE_HEADER_BYTES
        self._crc = 0  # of what follows the header
        self._file = files.create(path)
        self._file.seek(BUNDLE_HEADER_BYTES)

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Add a whole array of bool, integer or float elements."""
        self.begin(name, array.dtype, array.shape)
        self.append(array)

    def begin(self, name: str, dtype: DTypeLike, shape: Sequence[int]) -> None:
        """Start an array whose elements follow, in C order, by :meth:`append`."""
        self._finish_array()
        found = np.dtype(dtype)
        if found.kind not in "biuf" or found.itemsize > 8:
            raise InvalidArgument(f"array {name!r}: elements of type {found} cannot be stored; use numbers")
        if name in self._entries:
            raise InvalidArgument(f"array {name!r} is in the bundle already")
        sizes = tuple(int(size) for size in shape)
        stored = found.newbyteorder("<")
        self._open = _Entry(stored, sizes, self._position, math.prod(sizes) * stored.itemsize, 0)
        self._open_name, self._open_bytes, self._array_crc = name, 0, 0

    def append(self, block: NDArray[Any]) -> None:
        """Add the next elements of the array begun last."""
        if self._open is None:
            raise InvalidArgument("append comes after begin")
        if not np.can_cast(block.dtype, self._open.dtype, "equiv"):
            raise InvalidArgument(f"array {self._open_name!r} holds {self._open.dtype}, not {block.dtype}")
        data = np.ascontiguousarray(block, dtype=self._open.dtype)
        if self._open_bytes + data.nbytes > self._open.bytes:
            raise InvalidArgument(
                f"array {self._open_name!r}: more elements than shape {self._open.shape} has"
            )
        self._file.write(data)
        self._array_crc = crc32c(data, self._array_crc)
        self._open_bytes += data.nbytes

    def close(self) -> tuple[int, int]:
        """Write directory and header and sync; (bytes, CRC32C) of the whole file."""
        self._finish_array()
        directory = self._directory()
        offset = self._position
        self._add(directory)
        header = bytearray(BUNDLE_HEADER_BYTES)
        fields = (
            BUNDLE_MAGIC,
            BUNDLE_VERSION,
            0,
            offset,
            len(directory),
            crc32c(directory),
            0,
            self._position,
        )
        _HEADER.pack_into(header, 0, *fields)
        _CRC.pack_into(header, _CRC_OFFSET, crc32c(header[:_CRC_OFFSET]))
        self._file.pwrite(header, 0)
        self._file.sync()
        self._file.close()
        following_bytes = self._position - BUNDLE_HEADER_BYTES
        return self._position, crc32c_combine(crc32c(header), self._crc, following_bytes)

    def _finish_array(self) -> None:
        entry = self._open
        if entry is None:
            return
        if self._open_bytes != entry.bytes:
            raise InvalidArgument(
                f"array {self._open_name!r}: only {self._open_bytes} of {entry.bytes} bytes were given"
            )
        self._crc = crc32c_combine(self._crc, self._array_crc, entry.bytes)
        self._position += entry.bytes
        self._add(bytes(-self._position % BUNDLE_ALIGNMENT_BYTES))
        self._entries[self._open_name] = _Entry(
            entry.dtype, entry.shape, entry.offset, entry.bytes, self._array_crc
        )
        self._open = None

    def _add(self, data: bytes) -> None:
        self._file.write(data)
        self._crc = crc32c(data, self._crc)
        self._position += len(data)

    def _directory(self) -> bytes:
        arrays = {
            name: {
                "dtype": entry.dtype.str,
                "shape": entry.shape,
                "offset": entry.offset,
                "bytes": entry.bytes,
                "crc32c": f"{entry.crc32c:08x}",
            }
            for name, entry in self._entries.items()
        }
        return canonical_json({"meta": self._meta, "arrays": arrays})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Bundle:
    """An open bundle: its meta at once, its arrays when asked for.

    It keeps the file open, so that it can be read after a newer version has replaced the index.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.meta, self._entries = _read_directory(path, fd)

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Read header and directory. Raises StorageError, DamagedIndex or FormatTooNew."""
        path = Path(path)
        with storage_errors("open", path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return cls(path, fd)
        except BaseException:
            os.close(fd)
            raise

    def names(self) -> list[str]:
        """Names of the arrays, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        return self._entry(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Element type of an array."""
        return self._entry(name).dtype

    def array_bytes(self, name: str) -> int:
        """Bytes that an array takes in RAM."""
        return self._entry(name).bytes

    def read(self, name: str, take: Take = own_array) -> NDArray[Any]:
        """An array, at an address divisible by 64, from ``take``; DamagedIndex if it is not as written."""
        entry = self._entry(name)

        def fill(data: NDArray[np.uint8]) -> None:
            view, crc = flat_view(data), 0
            for done in range(0, entry.bytes, _READ_BYTES):
                crc = self._read_part(view[done : done + _READ_BYTES], entry.offset + done, crc)
            self._demand(crc, entry, name)

        data = take(f"{file_key(self.path, self._fd)}:{name}", entry.bytes, fill)
        return data.view(entry.dtype).reshape(entry.shape)

    def check(self, name: str) -> None:
        """Read an array without keeping it; DamagedIndex if it is not as written."""
        entry = self._entry(name)
        view, crc = memoryview(bytearray(min(entry.bytes, _READ_BYTES))), 0
        for done in range(0, entry.bytes, _READ_BYTES):
            crc = self._read_part(view[: entry.bytes - done], entry.offset + done, crc)
        self._demand(crc, entry, name)

    def _read_part(self, part: memoryview, offset: int, crc: int) -> int:
        """Fill ``part`` from the file; ``crc`` extended by it while it is in the processor's cache."""
        _read_exactly(self._fd, part, offset, self.path)
        return crc32c(part, crc)

    def _demand(self, crc: int, entry: _Entry, name: str) -> None:
        if crc != entry.crc32c:
            raise _damaged(self.path, f"array {name!r} does not match its checksum")

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise _damaged(self.path, f"array {name!r} is missing") from None


def _damaged(path: Path, what: str) -> DamagedIndex:
    return DamagedIndex(f"{path}: {what}; restore a copy of the index or build it again", str(path))


def _read_exactly(fd: int, view: memoryview, offset: int, path: Path) -> None:
    while view.nbytes:
        with storage_errors("read", path):
            count = os.preadv(fd, [view], offset)
        if count == 0:
            raise _damaged(path, "it is cut short")
        view = view[count:]
        offset += count


def _read_directory(path: Path, fd: int) -> tuple[dict[str, Any], dict[str, _Entry]]:
    """(meta, entries) of a bundle whose header and directory are sound."""
    with storage_errors("measure", path):
        size_bytes = os.fstat(fd).st_size
    header = bytearray(BUNDLE_HEADER_BYTES)
    _read_exactly(fd, memoryview(header), 0, path)
    magic, version, flags, offset, directory_bytes, directory_crc, _, file_bytes = _HEADER.unpack_from(header)
    if magic != BUNDLE_MAGIC:
        raise _damaged(path, "it does not begin as a bundle of arrays does")
    if _CRC.unpack_from(header, _CRC_OFFSET)[0] != crc32c(header[:_CRC_OFFSET]):
        raise _damaged(path, "its header does not match its checksum")
    if version > BUNDLE_VERSION or flags:
        raise FormatTooNew(f"{path}: written by a newer version of PageANN; upgrade to read it")
    if size_bytes != file_bytes:
        raise _damaged(path, f"it is {size_bytes} bytes long instead of {file_bytes}")
    if offset + directory_bytes != file_bytes:
        raise _damaged(path, "its header contradicts itself")
    directory = bytearray(directory_bytes)
    _read_exactly(fd, memoryview(directory), offset, path)
    if crc32c(directory) != directory_crc:
        raise _damaged(path, "its directory does not match its checksum")
    content = json.loads(directory)
    return content["meta"], {name: _parse_entry(fields) for name, fields in content["arrays"].items()}


def _parse_entry(fields: dict[str, Any]) -> _Entry:
    crc = int(fields["crc32c"], 16)
    return _Entry(np.dtype(fields["dtype"]), tuple(fields["shape"]), fields["offset"], fields["bytes"], crc)
