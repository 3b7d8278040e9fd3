"""A file layer that records, and the crashes that could have happened while it did.

Give any ``build(files, path)`` to :func:`record`; :func:`crashes` then yields what a loss of power
could have left on the disk after each of its operations. :class:`RecordingFiles` can also refuse one
operation, as a full disk does.
"""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pageann.errors import StorageError
from pageann.storage.files import Buffer, Files, OsFiles, WritableFile, flat_view
from tests.reference.crash_disk import KEEP, LOSE, ZERO, Disk, Key, Tree, Verdicts, read_tree

RANDOM_STATES = 6

Operation = tuple[Any, ...]
"""(name of a method of :class:`Disk`, its arguments)."""


@dataclass(frozen=True)
class Recording:
    """A build: the disk before it, and all it did."""

    before: Tree
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Crash:
    """A state that a loss of power may leave behind."""

    done: int
    """Operations that had returned."""
    tree: Tree
    label: str
    """Which pending changes were kept, to follow up a failure."""


class RecordingFiles:
    """A file layer over real files under ``root`` that keeps a log of its operations."""

    def __init__(self, root: Path, *, fail_at: int = -1, error_number: int = errno.ENOSPC) -> None:
        self.before = read_tree(root)
        self.log: list[Operation] = []
        self._root = root
        self._files = OsFiles()
        self._disk = Disk(self.before)
        self._fail_at = fail_at
        self._error_number = error_number
        self._count = 0

    @property
    def has_failed(self) -> bool:
        """Whether the operation that was to fail has been reached."""
        return 0 <= self._fail_at < self._count

    def _enter(self) -> None:
        """Fail if this operation is the one that must."""
        self._count += 1
        if self._count - 1 == self._fail_at:
            raise StorageError(f"operation {self._fail_at} fails", self._error_number)

    def _note(self, name: str, *arguments: Any) -> Any:
        self.log.append((name, *arguments))
        return getattr(self._disk, name)(*arguments)

    def _relative(self, path: Path) -> str:
        return path.absolute().relative_to(self._root.absolute()).as_posix()

    def create(self, path: Path) -> WritableFile:
        self._enter()
        file = self._files.create(path)
        return _RecordingFile(self, file, self._note("create", self._relative(path)))

    def sync_file(self, path: Path) -> None:
        self._enter()
        self._note("sync_file", self._relative(path))

    def sync_directory(self, path: Path) -> None:
        self._enter()
        self._note("sync_directory", self._relative(path))

    def rename(self, old: Path, new: Path) -> None:
        self._enter()
        self._files.rename(old, new)
        self._note("rename", self._relative(old), self._relative(new))

    def unlink(self, path: Path) -> None:
        self._enter()
        self._files.unlink(path)
        self._note("unlink", self._relative(path))

    def make_directory(self, path: Path) -> None:
        self._enter()
        self._files.make_directory(path)
        self._note("make_directory", self._relative(path))

    def remove_directory(self, path: Path) -> None:
        self._enter()
        self._files.remove_directory(path)
        self._note("remove_directory", self._relative(path))

    def remove_tree(self, path: Path) -> None:
        self._enter()
        self._files.remove_tree(path)
        self._note("remove_tree", self._relative(path))

    def names(self, path: Path) -> list[str]:
        return self._files.names(path)

    def is_directory(self, path: Path) -> bool:
        return self._files.is_directory(path)

    def exists(self, path: Path) -> bool:
        return self._files.exists(path)

    def size_bytes(self, path: Path) -> int:
        return self._files.size_bytes(path)

    def read(self, path: Path) -> bytes:
        return self._files.read(path)


class _RecordingFile:
    """A file of :class:`RecordingFiles`."""

    def __init__(self, layer: RecordingFiles, file: WritableFile, number: int) -> None:
        self._layer = layer
        self._file = file
        self._number = number
        self._position = 0

    def write(self, data: Buffer) -> None:
        self.pwrite(data, self._position)
        self._position += flat_view(data).nbytes

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._layer._enter()
        self._file.pwrite(data, offset)
        if flat_view(data).nbytes:
            self._layer._note("write", self._number, offset, bytes(flat_view(data)))

    def seek(self, offset: int) -> None:
        self._position = offset

    def sync(self) -> None:
        self._layer._enter()
        self._layer._note("sync_handle", self._number)

    def close(self) -> None:
        self._file.close()


def record(root: Path, build: Callable[[Files], object]) -> Recording:
    """Run ``build`` over a recording file layer for all under ``root``."""
    files = RecordingFiles(root)
    build(files)
    return Recording(files.before, tuple(files.log))


def crashes(recording: Recording, *, seed: int = 0, first: int = 0) -> Iterator[Crash]:
    """Every crash that is tried: at each operation from ``first`` on, with many verdicts on what is pending.

    At each: all is kept, all is lost, each change alone is kept, lost, torn or left as zeros, and some
    random mixtures. States that were yielded already after as many operations are left out.
    """
    disk = Disk(recording.before)
    generator = random.Random(seed)
    for done in range(len(recording.operations) + 1):
        if done:
            name, *arguments = recording.operations[done - 1]
            getattr(disk, name)(*arguments)
        if done < first:
            continue
        seen: set[bytes] = set()
        for label, verdicts in _choices(disk.pending(), generator):
            tree = disk.tree(verdicts)
            digest = hashlib.sha256(repr(tree).encode()).digest()
            if digest not in seen:
                seen.add(digest)
                yield Crash(done, tree, label)


def _choices(pending: list[tuple[Key, bool]], generator: random.Random) -> Iterator[tuple[str, Verdicts]]:
    yield "all kept", _all_but({}, KEEP)
    yield "all lost", _all_but({}, LOSE)
    for key, is_write in pending:
        yield f"all kept but {key}", _all_but({key: LOSE}, KEEP)
        yield f"all lost but {key}", _all_but({key: KEEP}, LOSE)
        if is_write:
            yield f"all kept, {key} torn", _all_but({key: generator.random()}, KEEP)
            yield f"all kept, {key} zeros", _all_but({key: ZERO}, KEEP)
    for mixture in range(RANDOM_STATES if len(pending) > 1 else 0):
        chosen = {
            key: generator.choice((KEEP, KEEP, LOSE, LOSE, ZERO, generator.random())) for key, _ in pending
        }
        yield f"mixture {mixture}: {chosen}", _all_but(chosen, LOSE)


def _all_but(exceptions: dict[Key, float], others: float) -> Verdicts:
    return lambda key: exceptions.get(key, others)
