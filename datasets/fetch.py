"""Fetch a public data set, whole or the first rows of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pageann.datasets.catalogue import ALL, BASE, QUERIES, TRUTH, PublicSet, RemoteFile
from pageann.datasets.download import Download, Downloaded, Patience, download
from pageann.datasets.records import BIN_DTYPES
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["PARTS", "Fetched", "fetch_set"]

PARTS = (BASE, QUERIES, TRUTH)
_HEADER_BYTES = 8

Progress = Callable[[RemoteFile, int, int], None]
"""Told (file, bytes so far, bytes in all or 0)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file of a set, here now."""

    file: RemoteFile
    download: Downloaded


def fetch_set(
    entry: PublicSet,
    folder: Path,
    *,
    parts: Collection[str] = PARTS,
    rows: int | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> list[Fetched]:
    """Bring the files of ``entry`` that hold ``parts`` into ``folder``; what is there already stays.

    ``rows`` asks for the first rows of the base only, which needs a big-ann file; the truth that is
    published then no longer fits and is left out. Raises as :func:`~pageann.datasets.download.download`.
    """
    wanted = [file for file in entry.files if file.part == ALL or file.part in parts]
    if rows is not None:
        if BASE not in parts:
            raise InvalidArgument(f"rows={rows}: only the base can be fetched in part; add base to the parts")
        wanted = [_shortened(entry, file, rows) for file in wanted if file.part != TRUTH]
    return [Fetched(file, _fetch(entry, file, folder, progress, patience)) for file in wanted]


def _shortened(entry: PublicSet, file: RemoteFile, rows: int) -> RemoteFile:
    if file.part == QUERIES:
        return file
    suffix = Path(file.name).suffix
    if suffix not in BIN_DTYPES:
        raise InvalidArgument(f"rows={rows}: {file.name} cannot be fetched in part; leave rows out")
    if not 1 <= rows <= entry.rows:
        raise InvalidArgument(f"rows={rows}: {entry.name} has {entry.rows:,} rows")
    name = f"base.{rows}{suffix}"
    return RemoteFile(file.part, file.url, name, file.whole_bytes, first_rows=rows)


def _fetch(
    entry: PublicSet,
    file: RemoteFile,
    folder: Path,
    progress: Progress | None,
    patience: Patience | None,
) -> Downloaded:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(file, done, total)

    def finish(part: Path) -> None:
        _rewrite_header(part, file, entry.dim)

    first_bytes = 0
    if file.first_rows:
        first_bytes = _HEADER_BYTES + file.first_rows * entry.dim * np.dtype(entry.dtype).itemsize
    what = Download(file.url, folder / file.name, file.whole_bytes, first_bytes, file.sha256)
    return download(what, progress=told, patience=patience, finish=finish if file.first_rows else None)


def _rewrite_header(part: Path, file: RemoteFile, dim: int) -> None:
    """Make the first rows of a big-ann file a file of its own; checks that they come from the right one."""
    with open(part, "r+b") as opened:
        rows, found_dim = (int(value) for value in np.frombuffer(opened.read(_HEADER_BYTES), "<u4"))
        if found_dim != dim or rows < file.first_rows:
            raise InvalidData(
                f"{file.url}: says {rows:,} x {found_dim}, wanted are {file.first_rows:,} x {dim};"
                " the address leads elsewhere"
            )
        opened.seek(0)
        opened.write(np.array([file.first_rows, dim], "<u4").tobytes())
