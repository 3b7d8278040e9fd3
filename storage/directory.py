"""The folder of an index: find its current version, and publish a new one.

`CURRENT` names the manifest, the manifest names the segments. A version is published in steps that
each survive a loss of power before the next one begins (files, their folder, its name, the
manifest, and `CURRENT` last), so that a crash leaves the previous version, the new one, or nothing.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pageann.errors import DamagedIndex, IndexNotFound, PageANNError, StorageError
from pageann.storage.checksum import crc32c
from pageann.storage.files import Files, OsFiles
from pageann.storage.lock import LOCK_NAME
from pageann.storage.manifest import Manifest, SegmentEntry, manifest_name

if TYPE_CHECKING:
    from pageann.storage.writer import IndexWriter

__all__ = ["CURRENT_NAME", "SCRATCH_NAME", "IndexDirectory", "Pointer", "is_own_name", "version_of_name"]

CURRENT_NAME = "CURRENT"
SCRATCH_NAME = "scratch.tmp"

_VERSIONED = re.compile(r"(?:manifest-([0-9]{6,})\.json|seg-([0-9]{6,}))(?:\.tmp)?\Z")
_POINTER = re.compile(rb"(manifest-([0-9]{6,})\.json) ([0-9a-f]{8})\n\Z")
_ATTEMPTS = 20

Result = TypeVar("Result")


def is_own_name(name: str) -> bool:
    """Whether PageANN gives this name to something in an index folder."""
    fixed = (CURRENT_NAME, CURRENT_NAME + ".tmp", LOCK_NAME, SCRATCH_NAME)
    return name in fixed or _VERSIONED.match(name) is not None


def version_of_name(name: str) -> int:
    """The version that a manifest or a segment folder belongs to, 0 for other names."""
    match = _VERSIONED.match(name)
    return int(match[1] or match[2]) if match else 0


@dataclass(frozen=True, slots=True)
class Pointer:
    """What `CURRENT` says."""

    version: int
    """The version in the manifest's name."""
    crc32c: int
    """The checksum of the manifest's file."""

    def to_bytes(self) -> bytes:
        """The file `CURRENT`."""
        return f"{manifest_name(self.version)} {self.crc32c:08x}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Pointer | None:
        """Read `CURRENT`; None for anything that :meth:`to_bytes` would not write."""
        match = _POINTER.match(data)
        if match is None:
            return None
        pointer = cls(int(match[2]), int(match[3], 16))
        return pointer if pointer.to_bytes() == data else None


class IndexDirectory:
    """The folder of an index, which need not exist yet."""

    def __init__(self, path: Path | str, files: Files | None = None) -> None:
        self.path = Path(path)
        self.files: Files = OsFiles() if files is None else files

    def current(self) -> Manifest:
        """The manifest of the current version.

        Raises IndexNotFound where there is none, DamagedIndex, FormatTooNew or StorageError.
        """
        for _ in range(_ATTEMPTS):
            pointer = self._pointer()
            path = self.path / manifest_name(pointer.version)
            try:
                data = self.files.read(path)
            except StorageError as error:
                if error.errno != errno.ENOENT:
                    raise
                if self._pointer() == pointer:
                    raise self._damaged(CURRENT_NAME, f"the {path.name} that it names is missing") from None
                continue  # a newer version was published, and this one removed, in between
            return self._manifest(pointer, data)
        raise StorageError(f"{self.path}: the index is replaced faster than it can be opened; try again")

    def open_current(self, use: Callable[[Manifest], Result]) -> Result:
        """``use(manifest)`` of the current version, again if that version was replaced meanwhile.

        For opening the files of a version: once open, they outlive their removal.
        """
        for _ in range(_ATTEMPTS):
            manifest = self.current()
            try:
                return use(manifest)
            except (PageANNError, FileNotFoundError):
                if self.current().version == manifest.version:
                    raise
        raise StorageError(f"{self.path}: the index is replaced faster than it can be opened; try again")

    def file_path(self, segment: SegmentEntry, name: str) -> Path:
        """Where a file of a segment lies."""
        return self.path / segment.name / name

    def writer(self, *, replace: bool = True, keep_scratch: bool = False) -> IndexWriter:
        """A context manager that holds the index for writing; see :class:`IndexWriter`."""
        from pageann.storage.writer import IndexWriter

        return IndexWriter(self, replace=replace, keep_scratch=keep_scratch)

    def _pointer(self) -> Pointer:
        path = self.path / CURRENT_NAME
        try:
            data = self.files.read(path)
        except StorageError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise self._not_found() from None
        pointer = Pointer.from_bytes(data)
        if pointer is None:
            if any(version_of_name(name) for name in self.files.names(self.path)):
                raise self._damaged(CURRENT_NAME, "it does not name a manifest")
            raise IndexNotFound(f"{self.path}: its file CURRENT is not one of PageANN; check the path")
        return pointer

    def _not_found(self) -> IndexNotFound:
        if not self.files.exists(self.path):
            return IndexNotFound(
                f"no index at {self.path}; check the path, or build one with `pageann build`"
            )
        if not self.files.is_directory(self.path):
            return IndexNotFound(f"{self.path} is a file, an index is a folder; check the path")
        names = self.files.names(self.path)
        if any(is_own_name(name) for name in names):
            return IndexNotFound(f"{self.path}: a build did not finish here; run `pageann build` again")
        return IndexNotFound(f"{self.path} is not an index: it has no file CURRENT; check the path")

    def _manifest(self, pointer: Pointer, data: bytes) -> Manifest:
        name = manifest_name(pointer.version)
        manifest = Manifest.from_bytes(data, str(self.path / name))
        if manifest.version != pointer.version:
            raise self._damaged(name, f"it describes version {manifest.version}")
        if crc32c(data) != pointer.crc32c:  # the manifest has just passed its own checksum
            raise self._damaged(CURRENT_NAME, f"its checksum is not that of {name}")
        return manifest

    def _damaged(self, name: str, what: str) -> DamagedIndex:
        file = str(self.path / name)
        return DamagedIndex(f"{file}: {what}; restore a copy of the index or build it again", file)
