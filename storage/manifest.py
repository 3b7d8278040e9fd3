"""The manifest: which segments make up one version of an index, and the checksum of every file.

It is JSON that a person can read, then a line with the CRC32C of all bytes before that line.
``docs/FORMAT.md`` lists the keys. Nothing in it depends on when, where or by whom it was built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pageann.errors import DamagedIndex, FormatTooNew, InvalidArgument
from pageann.storage.canonical import canonical_json
from pageann.storage.checksum import crc32c

__all__ = ["FORMAT_VERSION", "FileEntry", "Manifest", "SegmentEntry", "manifest_name", "segment_name"]

FORMAT_VERSION = 1

_TRAILER = re.compile(rb"\ncrc32c ([0-9a-f]{8})\n\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_SEGMENT_NAME = re.compile(r"seg-[0-9]{6,}\Z")
_HEX = {"tag": re.compile(r"[0-9a-f]{16}\Z"), "crc32c": re.compile(r"[0-9a-f]{8}\Z")}


def manifest_name(version: int) -> str:
    """The file name of the manifest of a version."""
    return f"manifest-{version:06d}.json"


def segment_name(version: int) -> str:
    """The folder name of the segment that came with a version."""
    return f"seg-{version:06d}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a file must be."""

    bytes: int
    """Its length."""
    crc32c: int
    """The checksum of all its bytes."""


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """An immutable set of files. Raises InvalidArgument for names that lead out of the index."""

    name: str
    """Its folder, relative to the index."""
    rows: int
    """Number of vectors."""
    dim: int
    """Elements of a vector."""
    dtype: str
    """Element type of the vectors that were given, as NumPy names it."""
    metric: str
    """``l2``, ``ip`` or ``cosine``."""
    tag: int
    """The number (uint64) on each of its pages."""
    files: Mapping[str, FileEntry]
    """Its files by name."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What else describes it, as JSON; the layers above give it a meaning."""

    def __post_init__(self) -> None:
        if not _SEGMENT_NAME.match(self.name):
            raise InvalidArgument(f"segment name {self.name!r} is not of the form seg-000001")
        for name in self.files:
            if not _FILE_NAME.match(name):
                raise InvalidArgument(f"file name {name!r} in segment {self.name} is not a plain name")
        object.__setattr__(self, "files", dict(sorted(self.files.items())))
        object.__setattr__(self, "meta", dict(self.meta))

    def to_json(self) -> dict[str, Any]:
        """The segment as the manifest holds it."""
        return {
            "name": self.name,
            "rows": self.rows,
            "dim": self.dim,
            "dtype": self.dtype,
            "metric": self.metric,
            "tag": f"{self.tag:016x}",
            "files": {
                name: {"bytes": entry.bytes, "crc32c": f"{entry.crc32c:08x}"}
                for name, entry in self.files.items()
            },
            "meta": dict(self.meta),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an index."""

    version: int
    """Counts up with each publication, from 1."""
    segments: tuple[SegmentEntry, ...]
    """The segments, in the order of their rows."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the index was built with, as JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))

    @property
    def rows(self) -> int:
        """Number of vectors in all segments."""
        return sum(segment.rows for segment in self.segments)

    @property
    def index_bytes(self) -> int:
        """Length of all files of the segments together."""
        return sum(entry.bytes for segment in self.segments for entry in segment.files.values())

    def to_bytes(self) -> bytes:
        """The manifest as its file holds it."""
        content = {
            "format_version": FORMAT_VERSION,
            "version": self.version,
            "segments": [segment.to_json() for segment in self.segments],
            "options": dict(self.options),
        }
        body = canonical_json(content, indent=1)
        return body + f"\ncrc32c {crc32c(body):08x}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes, file: str) -> Manifest:
        """Read a manifest; ``file`` names it in errors.

        Raises DamagedIndex, or FormatTooNew for a sound manifest of a later version or with a key
        that this one does not know.
        """
        trailer = _TRAILER.search(data)
        if trailer is None:
            raise _damaged(file, "its last line is not a checksum")
        body = data[: trailer.start()]
        if int(trailer[1], 16) != crc32c(body):
            raise _damaged(file, "it does not match its checksum")
        try:
            return _parse(json.loads(body), file)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, f"its content is not that of a manifest ({error})") from error


def _damaged(file: str, what: str) -> DamagedIndex:
    return DamagedIndex(f"{file}: {what}; restore a copy of the index or build it again", file)


def _parse(content: dict[str, Any], file: str) -> Manifest:
    version = content["format_version"]
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{file}: format version {version} is newer than {FORMAT_VERSION}, the last that this PageANN "
            "reads; upgrade to read it"
        )
    if version < 1:
        raise _damaged(file, f"there is no format version {version}")
    _refuse_unknown(content, {"format_version", "version", "segments", "options"}, file)
    segments = tuple(_parse_segment(fields, file) for fields in content["segments"])
    return Manifest(int(content["version"]), segments, content["options"])


def _parse_segment(fields: dict[str, Any], file: str) -> SegmentEntry:
    known = {"name", "rows", "dim", "dtype", "metric", "tag", "files", "meta"}
    _refuse_unknown(fields, known, file)
    return SegmentEntry(
        name=fields["name"],
        rows=int(fields["rows"]),
        dim=int(fields["dim"]),
        dtype=fields["dtype"],
        metric=fields["metric"],
        tag=_parse_hex("tag", fields),
        files={name: _parse_file(entry, file) for name, entry in fields["files"].items()},
        meta=fields["meta"],
    )


def _parse_file(fields: dict[str, Any], file: str) -> FileEntry:
    _refuse_unknown(fields, {"bytes", "crc32c"}, file)
    return FileEntry(int(fields["bytes"]), _parse_hex("crc32c", fields))


def _parse_hex(key: str, fields: dict[str, Any]) -> int:
    if not _HEX[key].match(fields[key]):
        raise ValueError(f"{key} {fields[key]!r} is not a number in hexadecimal digits")
    return int(fields[key], 16)


def _refuse_unknown(fields: dict[str, Any], known: set[str], file: str) -> None:
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise FormatTooNew(f"{file}: unknown key {unknown[0]!r}, of a newer PageANN; upgrade to read it")
