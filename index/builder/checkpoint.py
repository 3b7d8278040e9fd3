"""What a build has finished so far, kept in its scratch folder so that the next one goes on from there.

A *step* is a name with a JSON value and arrays. Steps are noted as they are finished and made
durable together, some seconds apart: first their files are synced, then ``journal.json`` is replaced,
which lists every file with its size and checksum. A build that dies at any moment leaves the last
journal and files that it does not list; the next build drops those, and every step whose files are
not as listed. The journal carries a stamp of input, options and code; another stamp starts over.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import StorageError
from pageann.index.builder.residency import Residency
from pageann.storage.canonical import canonical_json
from pageann.storage.checksum import crc32c
from pageann.storage.files import Files, flat_view
from pageann.storage.manifest import FileEntry
from pageann.storage.whole import replace_whole

__all__ = ["JOURNAL_NAME", "Checkpoints", "Step"]

JOURNAL_NAME = "journal.json"
_BLOCK_BYTES = 4 << 20
_LEAST_SECONDS_BETWEEN = 4.0
_COST_FACTOR = 12.0
"""Checkpoints are at least so many times their own cost apart."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _StoredArray:
    """An array in a file of the scratch folder."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    entry: FileEntry


@dataclass(slots=True)
class Step:
    """One finished step."""

    value: Any
    arrays: dict[str, Array] = field(default_factory=dict)
    """Its arrays, in memory or mapped."""
    segment_files: dict[str, FileEntry] = field(default_factory=dict)
    """Complete files of the segment that it wrote."""


@dataclass(slots=True)
class _Kept:
    """A step with what the journal says of it."""

    step: Step
    stored: dict[str, _StoredArray] = field(default_factory=dict)
    durable: bool = False
    paths: dict[str, Path] = field(default_factory=dict)
    """Files in which arrays of it lie already."""


class Checkpoints:
    """The steps of one build; see the module. ``begin`` says whether an earlier build is gone on with."""

    def __init__(
        self,
        files: Files,
        scratch: Path,
        segment: Path,
        residency: Residency,
        fraction: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._scratch = scratch
        self._segment = segment
        self.residency = residency
        self.resumed_fraction = 0.0
        """What ``fraction()`` was when the journal that was taken over was written."""
        self._fraction = fraction
        self._clock = clock
        self._steps: dict[str, _Kept] = {}
        self._stamp = ""
        self._number = 0
        self._in_use: set[str] = set()
        self._saved = clock()
        self._wait_seconds = _LEAST_SECONDS_BETWEEN

    @property
    def has_work(self) -> bool:
        """Whether :meth:`begin` has run, or an earlier build has left something to go on with."""
        return bool(self._stamp) or self._files.exists(self._scratch / JOURNAL_NAME)

    @property
    def scratch(self) -> Path:
        """Where working files go; whatever no journal lists is removed by the next build."""
        return self._scratch

    def begin(self, stamp: str) -> str:
        """Read what an earlier build left for ``stamp``, and remove all else.

        Returns ``"resumed"``, ``"stale"`` (a journal of another stamp was there, and was removed with
        its files) or ``"new"``.
        """
        self._stamp = stamp
        journal = self._read_journal()
        if journal is not None and journal["stamp"] == stamp:
            self._take_over(journal)
        self._remove_unlisted()
        if self._steps:
            return "resumed"
        return "stale" if journal is not None and journal["stamp"] != stamp else "new"

    def find(self, name: str) -> Step | None:
        """The step ``name`` if it is finished."""
        kept = self._steps.get(name)
        return None if kept is None else kept.step

    def finish(
        self,
        name: str,
        value: Any = None,
        arrays: Mapping[str, Array] | None = None,
        segment_files: Mapping[str, FileEntry] | None = None,
        *,
        written: Mapping[str, tuple[Path, Array]] | None = None,
        drop: tuple[str, ...] = (),
    ) -> Step:
        """Note that a step is finished, or farther than it was; ``drop`` names steps no longer needed.

        ``written`` are arrays that lie in files of :meth:`new_path` already. Arrays must not change
        any more before the next :meth:`save`.
        """
        for other in (name, *drop):  # their files stay until a journal without them is durable
            self._steps.pop(other, None)
        files = dict(written or {})
        mapped = {key: array for key, (_, array) in files.items()}
        step = Step(value, {**(arrays or {}), **mapped}, dict(segment_files or {}))
        self._steps[name] = _Kept(step, paths={key: path for key, (path, _) in files.items()})
        return step

    def new_path(self, name: str) -> Path:
        """A path in the scratch folder that no file has, to be finished as ``written``."""
        self._number += 1
        path = self._scratch / f"{name}.{self._number}"
        self._in_use.add(path.name)
        return path

    @property
    def is_due(self) -> bool:
        """Whether so much time has passed that :meth:`save` is worth its cost."""
        return self._clock() - self._saved >= self._wait_seconds

    def save_if_due(self) -> None:
        """Make all finished steps durable if the last time was long enough ago."""
        if self.is_due:
            self.save()

    def save(self) -> None:
        """Make all finished steps durable."""
        fresh = [(name, kept) for name, kept in self._steps.items() if not kept.durable]
        if not fresh:
            return
        begin = self._clock()
        for name, kept in fresh:
            for key, array in kept.step.arrays.items():
                path = kept.paths.get(key)
                kept.stored[key] = (
                    self._write_array(self.new_path(f"{name}-{key}"), array)
                    if path is None
                    else self._sync_array(path, array)
                )
            for file in kept.step.segment_files:
                self._files.sync_file(self._segment / file)
        self._files.sync_directory(self._segment)
        self._files.sync_directory(self._scratch)
        replace_whole(self._files, self._scratch / JOURNAL_NAME, self._journal())
        for _, kept in fresh:
            kept.durable = True
            self._in_use -= {stored.file for stored in kept.stored.values()}
        self._remove_unlisted(scratch_arrays_only=True)
        self._saved = self._clock()
        self._wait_seconds = max(_LEAST_SECONDS_BETWEEN, _COST_FACTOR * (self._saved - begin))

    def _sync_array(self, path: Path, array: Array) -> _StoredArray:
        """Sync a file that holds ``array`` already."""
        self._files.sync_file(path)
        entry = FileEntry(array.nbytes, self._checksum(flat_view(array)))
        return _StoredArray(path.name, array.dtype.str, array.shape, entry)

    def _checksum(self, view: memoryview) -> int:
        crc = 0
        for first in range(0, view.nbytes, _BLOCK_BYTES):
            crc = crc32c(view[first : first + _BLOCK_BYTES], crc)
            self.residency.check()
        return crc

    def _write_array(self, path: Path, array: Array) -> _StoredArray:
        file = self._files.create(path)
        view, crc = flat_view(np.ascontiguousarray(array)), 0
        try:
            for first in range(0, view.nbytes, _BLOCK_BYTES):
                part = view[first : first + _BLOCK_BYTES]
                file.write(part)
                crc = crc32c(part, crc)
                self.residency.check()
            file.sync()
        finally:
            file.close()
        return _StoredArray(path.name, array.dtype.str, array.shape, FileEntry(view.nbytes, crc))

    def _map(self, stored: _StoredArray) -> Array:
        return self.residency.map(self._scratch / stored.file, stored.dtype, stored.shape)

    def _journal(self) -> bytes:
        steps = {
            name: {
                "value": kept.step.value,
                "arrays": {
                    key: [stored.file, stored.dtype, list(stored.shape), *_plain(stored.entry)]
                    for key, stored in kept.stored.items()
                },
                "segment_files": {file: _plain(entry) for file, entry in kept.step.segment_files.items()},
            }
            for name, kept in self._steps.items()
        }
        content = {"stamp": self._stamp, "number": self._number, "fraction": self._fraction(), "steps": steps}
        body = canonical_json(content)
        return b"%s\ncrc32c %08x\n" % (body, crc32c(body))

    def _read_journal(self) -> dict[str, Any] | None:
        try:
            data = self._files.read(self._scratch / JOURNAL_NAME)
        except StorageError:
            return None
        body, _, trailer = data.rpartition(b"\ncrc32c ")
        if trailer != b"%08x\n" % crc32c(body):
            return None
        content: dict[str, Any] = json.loads(body)
        return content

    def _take_over(self, journal: Mapping[str, Any]) -> None:
        self._number = journal["number"] + 1
        self.resumed_fraction = float(journal["fraction"])
        for name, fields in journal["steps"].items():
            stored = {
                key: _StoredArray(file, dtype, tuple(shape), FileEntry(size, crc))
                for key, (file, dtype, shape, size, crc) in fields["arrays"].items()
            }
            segment_files = {file: FileEntry(*entry) for file, entry in fields["segment_files"].items()}
            paths = [(self._scratch / each.file, each.entry) for each in stored.values()]
            paths += [(self._segment / file, entry) for file, entry in segment_files.items()]
            if all(self._is_sound(path, entry) for path, entry in paths):
                arrays = {key: self._map(each) for key, each in stored.items()}
                self._steps[name] = _Kept(Step(fields["value"], arrays, segment_files), stored, True)

    def _is_sound(self, path: Path, entry: FileEntry) -> bool:
        if not self._files.exists(path) or self._files.size_bytes(path) != entry.bytes:
            return False
        data = self.residency.map(path, np.uint8, (entry.bytes,))
        return self._checksum(flat_view(data)) == entry.crc32c

    def _remove_unlisted(self, *, scratch_arrays_only: bool = False) -> None:
        """Remove files that belong to no step; working files only where nothing can be using them."""
        listed = {each.file for kept in self._steps.values() for each in kept.stored.values()}
        for name in self._files.names(self._scratch):
            is_array = name.rpartition(".")[2].isdigit()
            if name in listed or name in self._in_use or name == JOURNAL_NAME:
                continue
            if is_array or not scratch_arrays_only:
                self._remove(self._scratch / name)
        if scratch_arrays_only:
            return
        if not self._steps and self._files.exists(self._scratch / JOURNAL_NAME):
            self._remove(self._scratch / JOURNAL_NAME)
        in_segment = {file for kept in self._steps.values() for file in kept.step.segment_files}
        for name in self._files.names(self._segment):
            if name not in in_segment:
                self._remove(self._segment / name)

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(StorageError):
            self._files.unlink(path)


def _plain(entry: FileEntry) -> list[int]:
    return [entry.bytes, entry.crc32c]
