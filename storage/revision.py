"""Publish a new version of an index whose segment is the old one, but for a few small files.

A file that takes the place of another has a name of its own, `NAME-000008.EXT` for the version 8, in the
same folder. It is complete before the manifest lists it, and what it replaces is removed after
`CURRENT` names that manifest; the order of steps is that of a build. A crash in between leaves a
file that no manifest lists: :func:`is_left_over` knows it by its name.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pageann.errors import DamagedIndex, InvalidArgument, StorageError
from pageann.storage.checksum import crc32c
from pageann.storage.directory import CURRENT_NAME, IndexDirectory, Pointer, version_of_name
from pageann.storage.lock import WriterLock
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry, manifest_name
from pageann.storage.whole import replace_whole

__all__ = ["IndexRevision", "base_name", "is_left_over", "listed_name", "revised_name"]

_REVISED = re.compile(r"(.+)-[0-9]{6,}(\.[A-Za-z0-9]+)\Z")


def revised_name(name: str, version: int) -> str:
    """The name of the file that takes the place of ``name`` from ``version`` on."""
    stem, dot, suffix = base_name(name).rpartition(".")
    return f"{stem}-{version:06d}{dot}{suffix}"


def base_name(name: str) -> str:
    """The name that a file had, or would have had, when the segment was built."""
    match = _REVISED.match(name)
    return match[1] + match[2] if match else name


def listed_name(files: Mapping[str, FileEntry], name: str) -> str | None:
    """Which of the listed ``files`` is ``name``, or has taken its place; None where none is."""
    found = [each for each in files if base_name(each) == name]
    return max(found, default=None)


def is_left_over(name: str, files: Mapping[str, FileEntry]) -> bool:
    """Whether a file of a segment that is not among its listed ``files`` is what a revision left behind.

    That is one which was written and not published, or one which was replaced and not removed.
    """
    if name in files:
        return False
    return base_name(name) != name or any(base_name(each) == name for each in files)


class IndexRevision:
    """Holds an index for a revision, as a context manager; a build cannot begin meanwhile.

    Write files in :attr:`segment_path` under the names that :meth:`name_of` gives, through the same
    file layer, then call :meth:`publish`. Leaving without it removes them. Unlike a build it leaves
    alone what a build that died has left for the next one.

    Raises on entering: IndexNotFound, IndexLocked, DamagedIndex, FormatTooNew, StorageError.
    """

    def __init__(self, directory: IndexDirectory) -> None:
        self._directory = directory
        self._path = directory.path
        self._files = directory.files
        self._lock: WriterLock | None = None
        self._current: Manifest | None = None
        self._pointer: Pointer | None = None

    @property
    def manifest(self) -> Manifest:
        """The version that is revised; it is the current one as long as the context lasts."""
        assert self._current is not None, "enter the context first"
        return self._current

    @property
    def segment(self) -> SegmentEntry:
        """Its segment."""
        return self.manifest.segments[0]

    @property
    def segment_path(self) -> Path:
        """The folder of the segment."""
        return self._path / self.segment.name

    @property
    def version(self) -> int:
        """The version that :meth:`publish` will publish."""
        return self.manifest.version + 1

    def name_of(self, name: str) -> str:
        """What the new file in the place of ``name`` is called."""
        return revised_name(name, self.version)

    def __enter__(self) -> Self:
        self._directory.current()  # where there is no index, leave no lock file either
        self._lock = WriterLock(self._path)
        try:
            self._current = self._directory.current()
            if len(self._current.segments) != 1:
                raise InvalidArgument(
                    f"{self._path}: only an index of one segment can be revised; build it again"
                )
            self._remove_left_over(self._current)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        try:
            if not self._may_be_published():
                with contextlib.suppress(StorageError):  # the next revision removes what is left
                    self._remove_left_over(self.manifest)
        finally:
            self._lock.release()

    def publish(self, written: Mapping[str, FileEntry]) -> Manifest:
        """Make the revised segment current: the files ``written`` replace those that they are named after.

        Raises InvalidArgument for a file that is not there as listed, StorageError.
        """
        segment = self._revised(written)
        for name in written:
            self._files.sync_file(self.segment_path / name)
        self._files.sync_directory(self.segment_path)
        manifest = Manifest(self.version, (segment,), self.manifest.options)
        data = manifest.to_bytes()
        replace_whole(self._files, self._path / manifest_name(manifest.version), data)
        self._pointer = Pointer(manifest.version, crc32c(data))
        replace_whole(self._files, self._path / CURRENT_NAME, self._pointer.to_bytes())
        with contextlib.suppress(StorageError):
            self._remove_left_over(manifest)
        return manifest

    def _revised(self, written: Mapping[str, FileEntry]) -> SegmentEntry:
        """The segment with ``written`` in the place of what they replace."""
        replaced = {base_name(name) for name in written}
        for name, entry in written.items():
            if name != self.name_of(name):
                raise InvalidArgument(f"{name}: the file of version {self.version} is {self.name_of(name)}")
            size_bytes = self._files.size_bytes(self.segment_path / name)
            if size_bytes != entry.bytes:
                raise InvalidArgument(f"{name} is {size_bytes} bytes long, the revision lists {entry.bytes}")
        kept = {name: entry for name, entry in self.segment.files.items() if base_name(name) not in replaced}
        return replace(self.segment, files={**kept, **written})

    def _remove_left_over(self, current: Manifest) -> None:
        """Remove files of revisions, and manifests, that do not belong to the version ``current``."""
        segment, kept = current.segments[0], manifest_name(current.version)
        self._remove(self.segment_path, lambda name: is_left_over(name, segment.files))
        self._remove(self._path, lambda name: _is_of_a_manifest(name) and name != kept)

    def _remove(self, folder: Path, is_superfluous: Callable[[str], bool]) -> None:
        names = [name for name in self._files.names(folder) if is_superfluous(name)]
        for name in names:
            self._files.unlink(folder / name)
        if names:
            self._files.sync_directory(folder)

    def _may_be_published(self) -> bool:
        """Whether `CURRENT` names the new version, or cannot be read, so that nothing may be removed."""
        if self._pointer is None:
            return False
        try:
            return self._directory.current().version == self._pointer.version
        except (DamagedIndex, StorageError):
            return True


def _is_of_a_manifest(name: str) -> bool:
    """Whether it is the name of a manifest, or of what was to become one or `CURRENT`."""
    return name == f"{CURRENT_NAME}.tmp" or (name.startswith("manifest-") and version_of_name(name) > 0)
