"""Write ``ids.bin``: where each row went, and the ids that the user gave the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.parallel import ranges
from pageann.index.ids_file import (
    ID_PAGE_BYTES,
    ID_PAYLOAD_BYTES,
    KEYS_OF_PAGE,
    IdKind,
    IdLayout,
    Section,
    string_keys,
    unsigned_type,
)
from pageann.storage.files import Files
from pageann.storage.manifest import FileEntry
from pageann.storage.pagefile import RawFileWriter

__all__ = ["write_ids"]

_BLOCK_ROWS = 65_536


def write_ids(
    files: Files,
    path: Path,
    order: npt.NDArray[Any],
    ids: npt.NDArray[np.int64] | list[str] | None,
    tag: int,
) -> tuple[FileEntry, dict[str, Any]]:
    """(what was written, its description for the manifest) of the ids of one segment.

    ``order`` int (n,) is the row in each slot, a permutation of 0..n-1. ``ids`` has one id a row, all
    different, as ``pageann.datasets.ids.check_ids`` returns them; None for row numbers. The
    description is read by ``IdMap.open``.

    Besides the arguments it holds about 4 bytes a row while writing slots, and 24 while writing
    the way from ids to rows. Raises StorageError.
    """
    with RawFileWriter(files, path, ID_PAGE_BYTES, tag) as writer:
        slots = _write(writer, _blocks(_slots_of_rows(order)), unsigned_type(len(order)))
        if ids is None:
            layout = IdLayout(IdKind.ROWS, slots)
        elif isinstance(ids, list):
            layout = _write_strings(writer, slots, ids)
        else:
            section = _write(writer, _blocks(ids), "<i8")
            layout = IdLayout(IdKind.INT64, slots, section, None, *_write_way_back(writer, ids, "<i8"))
        entry = FileEntry(*writer.close())
    return entry, layout.to_json()


def _slots_of_rows(order: npt.NDArray[Any]) -> npt.NDArray[Any]:
    slots = np.empty(len(order), unsigned_type(len(order)))
    for first, last in ranges(len(order), _BLOCK_ROWS):
        slots[order[first:last]] = np.arange(first, last, dtype=slots.dtype)
    return slots


def _blocks(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    return (values[first:last] for first, last in ranges(len(values), _BLOCK_ROWS))


def _write(writer: RawFileWriter, blocks: Iterable[npt.NDArray[Any]], type_name: str) -> Section:
    """Write one section, on pages of its own."""
    writer.write(bytes(-writer.written_bytes % ID_PAYLOAD_BYTES))
    offset = writer.written_bytes
    for block in blocks:
        writer.write(np.ascontiguousarray(block, type_name))
    count = (writer.written_bytes - offset) // np.dtype(type_name).itemsize
    return Section(offset, count, type_name)


def _write_strings(writer: RawFileWriter, slots: Section, ids: list[str]) -> IdLayout:
    rows = len(ids)
    ends = np.cumsum(np.fromiter((len(value.encode()) for value in ids), np.int64, rows))
    starts = _write(writer, chain([ends[:1] * 0], _blocks(ends)), unsigned_type(int(ends[-1])))
    blocks = (ids[first:last] for first, last in ranges(rows, _BLOCK_ROWS))
    text = _write(writer, map(_text_of, blocks), "|u1")
    hashes = string_keys((value.encode() for value in ids), rows)
    return IdLayout(IdKind.STRING, slots, starts, text, *_write_way_back(writer, hashes, "<u8"))


def _text_of(ids: list[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("".join(ids).encode(), np.uint8)


def _write_way_back(
    writer: RawFileWriter, keys: npt.NDArray[Any], type_name: str
) -> tuple[tuple[Section, ...], Section]:
    """(levels of keys, rows) of the way from ``keys``, one a row, to the rows."""
    ranked_rows = np.argsort(keys, kind="stable")
    level = keys[ranked_rows]
    levels = [_write(writer, _blocks(level), type_name)]
    while len(level) > KEYS_OF_PAGE:
        level = level[::KEYS_OF_PAGE]
        levels.append(_write(writer, _blocks(level), type_name))
    return tuple(levels), _write(writer, _blocks(ranked_rows), unsigned_type(len(keys)))
