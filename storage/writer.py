"""Write a new version of an index, and publish it or leave no trace."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pageann.errors import DamagedIndex, IndexExists, IndexNotFound, InvalidArgument, StorageError
from pageann.storage.checksum import crc32c
from pageann.storage.directory import (
    CURRENT_NAME,
    SCRATCH_NAME,
    IndexDirectory,
    Pointer,
    is_own_name,
    version_of_name,
)
from pageann.storage.lock import LOCK_NAME, WriterLock
from pageann.storage.manifest import Manifest, SegmentEntry, manifest_name, segment_name
from pageann.storage.whole import replace_whole

__all__ = ["IndexWriter"]

_ATTEMPTS = 20


class IndexWriter:
    """Holds an index for writing, as a context manager; one at a time for an index.

    Entering makes the folder, takes the lock and removes what builds that died left behind. Write
    the files of the new segment in :attr:`segment_path` through the same file layer, anything else
    in :attr:`scratch_path`, then call :meth:`publish`. Leaving without it removes all that was
    written, and the folder if it did not exist before.

    Raises on entering: IndexLocked, IndexExists (a folder that holds something else, or any index
    unless ``replace``), FormatTooNew (a newer index is not replaced), StorageError.
    """

    def __init__(self, directory: IndexDirectory, *, replace: bool, keep_scratch: bool) -> None:
        self._path = directory.path
        self._files = directory.files
        self._directory = directory
        self._replace = replace
        self._keep_scratch = keep_scratch
        self._made: list[Path] = []
        self._kept: set[str] = set()
        self._keeps_unfinished = False
        self._lock: WriterLock | None = None
        self._pointer: Pointer | None = None
        self.version = 0
        """The version that :meth:`publish` will publish."""

    @property
    def segment_name(self) -> str:
        """The name that the new segment will have."""
        return segment_name(self.version)

    @property
    def segment_path(self) -> Path:
        """The folder to write the files of the new segment in, under a temporary name."""
        return self._path / (self.segment_name + ".tmp")

    @property
    def scratch_path(self) -> Path:
        """A folder for what the build needs meanwhile.

        With ``keep_scratch`` it has what a build that died left there, and so has
        :attr:`segment_path`; leaving removes them, unless :meth:`keep_unfinished` was called.
        """
        return self._path / SCRATCH_NAME

    def __enter__(self) -> Self:
        try:
            self._refuse_foreign()
            self._take_lock()
            self._refuse_foreign()
            self._begin()
        except BaseException:
            self._abort()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abort()

    def publish(self, segment: SegmentEntry, options: Mapping[str, Any]) -> Manifest:
        """Make ``segment`` the index: the new version, which readers find from now on.

        Every file that ``segment`` lists must be complete in :attr:`segment_path`, and no other.
        Raises InvalidArgument if they are not, StorageError.
        """
        self._refuse_incomplete(segment)
        for name in segment.files:
            self._files.sync_file(self.segment_path / name)
        self._files.sync_directory(self.segment_path)
        self._files.rename(self.segment_path, self._path / segment.name)
        self._files.sync_directory(self._path)

        manifest = Manifest(self.version, (segment,), options)
        data = manifest.to_bytes()
        replace_whole(self._files, self._path / manifest_name(self.version), data)
        self._pointer = Pointer(self.version, crc32c(data))
        replace_whole(self._files, self._path / CURRENT_NAME, self._pointer.to_bytes())
        self._kept = _names_of(manifest)
        with contextlib.suppress(StorageError):  # the next build removes what is left of the old version
            self._remove_others()
            self._files.sync_directory(self._path)
        return manifest

    def keep_unfinished(self) -> None:
        """Leave scratch folder and segment for the next writer when this one is left unpublished."""
        self._keeps_unfinished = True

    def _refuse_foreign(self) -> None:
        """Raise IndexExists where the path holds something that is neither an index nor its leftovers."""
        if not self._files.exists(self._path):
            return
        if not self._files.is_directory(self._path):
            raise IndexExists(f"{self._path} is a file; give the index another path")
        with contextlib.suppress(IndexNotFound):
            with contextlib.suppress(DamagedIndex):
                self._directory.current()
            return
        names = self._files.names(self._path)
        foreign = [name for name in names if name == CURRENT_NAME or not is_own_name(name)]
        if foreign:
            raise IndexExists(
                f"{self._path} is a folder with something else in it ({foreign[0]}); "
                "give the index another path"
            )

    def _take_lock(self) -> None:
        for _ in range(_ATTEMPTS):
            self._make_folders()
            try:
                self._lock = WriterLock(self._path)
                return
            except StorageError as error:
                if error.errno != errno.ENOENT:
                    raise  # ENOENT: a build that failed has just removed the folder it had made
        raise StorageError(
            f"cannot lock {self._path}: the folder keeps disappearing; is another build failing?"
        )

    def _make_folders(self) -> None:
        missing: list[Path] = []
        folder = self._path.absolute()
        while not self._files.exists(folder):
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            try:
                self._files.make_directory(folder)
            except StorageError as error:
                if error.errno != errno.EEXIST:
                    raise
                continue  # another build was quicker
            self._made.append(folder)
            self._files.sync_directory(folder.parent)

    def _begin(self) -> None:
        """Find the version to replace, remove leftovers, and make the working folders."""
        names = set(self._files.names(self._path))
        try:
            previous = self._directory.current()
        except IndexNotFound:
            self._kept, self.version = set(), 1
        except DamagedIndex:
            self._kept = {name for name in names if is_own_name(name) and not name.endswith(".tmp")}
            self.version = 1 + max(version_of_name(name) for name in names)
        else:
            self._kept, self.version = _names_of(previous), previous.version + 1
        if self._kept and not self._replace:
            raise IndexExists(
                f"{self._path} holds an index already; allow replacing it, or give another path"
            )
        if self._keep_scratch:
            self._take_back_segment(names)
        self._remove_others(keep=self._unfinished if self._keep_scratch else ())
        for folder in (self.segment_path, self.scratch_path):
            if not self._files.exists(folder):
                self._files.make_directory(folder)
        if self._keep_scratch:  # what a build keeps there survives only if the folders do
            self._files.sync_directory(self._path)

    def _take_back_segment(self, names: set[str]) -> None:
        """Give the segment its temporary name again where a writer died after renaming it."""
        if self.segment_name in names - self._kept and self.segment_path.name not in names:
            self._files.rename(self._path / self.segment_name, self.segment_path)

    @property
    def _unfinished(self) -> tuple[str, str]:
        """The names of what the next writer may go on with."""
        return SCRATCH_NAME, self.segment_path.name

    def _refuse_incomplete(self, segment: SegmentEntry) -> None:
        if segment.name != self.segment_name:
            raise InvalidArgument(f"the segment of this version is {self.segment_name}, not {segment.name}")
        names = self._files.names(self.segment_path)
        if names != sorted(segment.files):
            raise InvalidArgument(f"the segment lists {sorted(segment.files)}, its folder holds {names}")
        for name, entry in segment.files.items():
            size_bytes = self._files.size_bytes(self.segment_path / name)
            if size_bytes != entry.bytes:
                raise InvalidArgument(f"{name} is {size_bytes} bytes long, the segment lists {entry.bytes}")

    def _remove_others(self, keep: tuple[str, ...] = ()) -> None:
        """Remove what PageANN has made in the folder, but for what is kept and the lock."""
        for name in self._files.names(self._path):
            if not is_own_name(name) or name in self._kept or name in (*keep, LOCK_NAME):
                continue
            path = self._path / name
            if self._files.is_directory(path):
                self._files.remove_tree(path)
            else:
                self._files.unlink(path)

    def _is_published(self) -> bool:
        """Whether `CURRENT` names the new version, also where publishing failed after that."""
        if self._pointer is None:
            return False
        try:
            return self._files.read(self._path / CURRENT_NAME) == self._pointer.to_bytes()
        except StorageError as error:
            return error.errno != errno.ENOENT  # unreadable: remove nothing that it may name

    def _abort(self) -> None:
        """Remove what was not published, and let the next writer in. Errors here would hide the first one."""
        published = self._is_published()
        if self._keeps_unfinished and not published:
            if self._lock is not None:
                self._lock.release()
            return
        if self._lock is not None:
            if not published:
                with contextlib.suppress(StorageError):
                    self._remove_others()
            self._lock.release()
        if published:
            return
        for folder in reversed(self._made):
            with contextlib.suppress(StorageError):
                self._files.remove_directory(folder)


def _names_of(manifest: Manifest) -> set[str]:
    """The names in the index folder that a version consists of."""
    return {CURRENT_NAME, manifest_name(manifest.version)} | {segment.name for segment in manifest.segments}
