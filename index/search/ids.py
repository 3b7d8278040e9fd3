"""From rows to the user's ids, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex, InvalidArgument
from pageann.index.ids_file import (
    ID_PAGE_BYTES,
    ID_PAYLOAD_BYTES,
    KEYS_OF_PAGE,
    IdKind,
    IdLayout,
    Section,
    string_keys,
)
from pageann.index.search.page_reads import Reads
from pageann.index.search.raw_pages import RawPages
from pageann.index.search.wanted_ids import unknown_id, wanted_integers, wanted_strings
from pageann.storage.arrays import Take, own_array

__all__ = ["IdMap"]

Int64s = npt.NDArray[np.int64]

_STRINGS_AT_ONCE = 2048
"""String ids that are looked up at a time: what that takes is nobody's, unlike the strings."""
_TEXT_PAGES = 16
"""Pages of text held at a time while strings are read: 64 KiB, beside what one string is longer."""


class IdMap:
    """The ids of one segment; several threads may use it at a time.

    What turns rows into ids is held in RAM or read from pages of 4 KiB; the way back, and the
    slots, are always read. Every page read is checked: DamagedIndex names the file and the page.
    """

    def __init__(
        self, pages: RawPages, layout: IdLayout, rows: int, resident: bool, take: Take = own_array
    ) -> None:
        self._pages = pages
        self._layout = layout
        self._rows = rows
        self._ids: npt.NDArray[Any] | None = None
        self._text: npt.NDArray[np.uint8] | None = None
        if resident and layout.ids is not None:
            self._ids = pages.read(layout.ids, take)
            self._text = pages.read(layout.text, take) if layout.text is not None else None

    @classmethod
    def open(
        cls,
        path: Path,
        meta: Mapping[str, Any],
        rows: int,
        tag: int,
        *,
        resident: bool,
        take: Take = own_array,
    ) -> Self:
        """Open the ``ids.bin`` of a segment of ``rows`` rows that ``meta``, from the manifest, describes.

        What is ``resident`` lies in memory from ``take``.
        Raises DamagedIndex, FormatTooNew or StorageError.
        """
        layout = IdLayout.from_json(meta)
        pages = RawPages(path, tag)
        try:
            _require_fitting(pages, layout, rows)
            return cls(pages, layout, rows, resident, take)
        except BaseException:
            pages.close()
            raise

    @staticmethod
    def resident_bytes_of(meta: Mapping[str, Any], rows: int) -> int:
        """What :meth:`open` would hold with ``resident=True``."""
        layout = IdLayout.from_json(meta)
        return 0 if rows == 0 else layout.row_to_id_bytes

    @property
    def kind(self) -> IdKind:
        """What the ids are: ``rows``, ``int64`` or ``string``."""
        return self._layout.kind

    @property
    def resident_bytes(self) -> int:
        """Bytes held in RAM; 0 where ids are read from pages."""
        held = (self._ids, self._text)
        return sum(array.nbytes for array in held if array is not None)

    def ids_of_rows(self, rows: Int64s) -> tuple[npt.NDArray[Any], int, float]:
        """(ids, reads, KiB) of ``rows``, an int64 array of any shape; -1 stands for no row.

        Ids have the shape of ``rows``: int64 with -1, or object with None, for no row. Several ids on one
        page, or on adjacent ones, are one read. Row numbers and resident ids cost none.
        """
        flat = np.ascontiguousarray(rows, np.int64).reshape(-1)
        if self.kind is IdKind.ROWS:
            if flat.max(initial=-1) >= self._rows:
                self._require_rows(flat[flat >= 0])
            return flat.reshape(rows.shape).copy(), 0, 0.0
        real = flat >= 0
        self._require_rows(flat[real])
        reads = Reads()
        wanted, inverse = np.unique(flat[real], return_inverse=True)
        if self.kind is IdKind.INT64:
            ids = np.full(flat.shape, -1, np.int64)
            ids[real] = self._numbers(self._layout.ids, wanted, reads)[inverse]
        else:
            ids = np.full(flat.shape, None, object)
            texts = np.empty(len(wanted), object)
            for first in range(0, len(wanted), _STRINGS_AT_ONCE):
                some = wanted[first : first + _STRINGS_AT_ONCE]
                texts[first : first + len(some)] = [text.decode() for text in self._texts(some, reads)]
            ids[real] = texts[inverse]
        return ids.reshape(rows.shape), reads.count, reads.kib

    def rows_of_ids(self, ids: Any) -> Int64s:
        """The rows, int64 (m,), of a sequence or array of m ids, repeats allowed.

        Reads a page for each level of keys (3 for some hundred millions of rows), one or two for the
        row, and for strings those of the text. Raises UnknownId naming the first id that is not there,
        InvalidArgument for ids of another type.
        """
        if self.kind is IdKind.STRING:
            return self._rows_of_strings(wanted_strings(ids))
        integers = wanted_integers(ids)
        if self.kind is IdKind.INT64:
            rows = self._look_up(integers, lambda wanted, rows: np.ones(len(rows), np.bool_))
        else:
            rows = np.where((integers >= 0) & (integers < self._rows), integers, -1)
        for place in np.flatnonzero(rows < 0)[:1]:
            raise unknown_id(int(integers[place]))
        return rows

    def slots_of_rows(self, rows: Int64s) -> Int64s:
        """The slot, int64 (m,), of each of ``rows`` int64 (m,)."""
        self._require_rows(rows)
        return self._pages.gather(self._layout.slots, rows, Reads()).astype(np.int64)

    def close(self) -> None:
        """Close the file; a second call does nothing. Resident ids may still be asked for."""
        self._pages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_rows(self, rows: Int64s) -> None:
        for row in rows[(rows < 0) | (rows >= self._rows)][:1]:
            raise InvalidArgument(f"row {row}: the rows of this index are 0 to {self._rows - 1}")

    def _numbers(self, section: Section | None, positions: Int64s, reads: Reads) -> npt.NDArray[Any]:
        if self._ids is not None:
            return self._ids[positions]
        assert section is not None
        return self._pages.gather(section, positions, reads)

    def _texts(self, rows: Int64s, reads: Reads) -> Iterator[bytes]:
        """The UTF-8 of the ids of ``rows``, which ascend, one by one: few of them are in memory at a time."""
        bounds = self._numbers(self._layout.ids, np.concatenate([rows, rows + 1]), reads).astype(np.int64)
        starts, ends = bounds[: len(rows)], bounds[len(rows) :]
        if self._text is not None:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                yield self._text[start:end].tobytes()
            return
        spans = np.where(ends > starts, (ends - 1) // ID_PAYLOAD_BYTES - starts // ID_PAYLOAD_BYTES + 1, 0)
        parts = starts // (ID_PAYLOAD_BYTES * _TEXT_PAGES)
        breaks = (np.flatnonzero(np.diff(parts)) + 1).tolist()
        for first, last in pairwise([0, *breaks, len(rows)]):
            yield from self._read_texts(starts[first:last], ends[first:last], spans[first:last], reads)

    def _read_texts(self, starts: Int64s, ends: Int64s, spans: Int64s, reads: Reads) -> list[bytes]:
        """Bytes ``starts`` to ``ends`` of the text, which lie on ``spans`` pages each."""
        assert self._layout.text is not None
        first_pages = starts // ID_PAYLOAD_BYTES
        within = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans)
        pages = np.unique(np.repeat(first_pages, spans) + within)
        payloads = [
            payload.tobytes() for _, payload in self._pages.visit(self._layout.text.first_page + pages, reads)
        ]
        data = b"".join(payloads)
        places = np.searchsorted(pages, first_pages) * ID_PAYLOAD_BYTES + starts % ID_PAYLOAD_BYTES
        lengths = (ends - starts).tolist()
        return [data[at : at + length] for at, length in zip(places.tolist(), lengths, strict=True)]

    def _rows_of_strings(self, wanted: list[str]) -> Int64s:
        # A lone surrogate has no UTF-8, so no index holds it; "?" only keeps its place.
        encoded = [value.encode(errors="replace") for value in wanted]

        def verify(places: Int64s, rows: Int64s) -> npt.NDArray[np.bool_]:
            distinct, inverse = np.unique(rows, return_inverse=True)
            texts = list(self._texts(distinct, Reads()))
            pairs = zip(places.tolist(), inverse.tolist(), strict=True)
            return np.array([texts[at].decode() == wanted[place] for place, at in pairs], np.bool_)

        rows = self._look_up(string_keys(encoded, len(encoded)), verify)
        for place in np.flatnonzero(rows < 0)[:1]:
            raise unknown_id(wanted[place])
        return rows

    def _look_up(
        self, keys: npt.NDArray[Any], verify: Callable[[Int64s, Int64s], npt.NDArray[np.bool_]]
    ) -> Int64s:
        """The row of each key, -1 where there is none.

        ``verify(places, rows)`` says which of ``rows`` is what ``keys[places]`` stands for, since
        different strings may have equal hashes.
        """
        leaf, rows_section = self._layout.keys[0], self._layout.rows
        assert rows_section is not None
        reads = Reads()
        positions = self._lower_bounds(keys, reads)
        rows = np.full(len(keys), -1, np.int64)
        waiting = np.arange(len(keys))
        while len(waiting):
            waiting = waiting[positions[waiting] < leaf.count]
            found = self._pages.gather(leaf, positions[waiting], reads)
            waiting = waiting[found == keys[waiting]]
            candidates = self._pages.gather(rows_section, positions[waiting], reads).astype(np.int64)
            same = verify(waiting, candidates)
            rows[waiting[same]] = candidates[same]
            waiting = waiting[~same]
            positions[waiting] += 1
        return rows

    def _lower_bounds(self, keys: npt.NDArray[Any], reads: Reads) -> Int64s:
        """How many keys of the first level are smaller than each of ``keys``; reads a page a level."""
        ranking = np.argsort(keys, kind="stable")
        ranked = keys[ranking]
        at = np.zeros(len(keys), np.int64)
        for number in reversed(range(len(self._layout.keys))):
            level = self._layout.keys[number]
            nodes = at
            at = np.empty(len(keys), np.int64)
            for places, payload in self._pages.visit(level.first_page + nodes, reads):
                begin = int(nodes[places.start]) * KEYS_OF_PAGE
                held = payload.view(level.dtype)[: level.count - begin]
                smaller = np.searchsorted(held, ranked[places], side="left")
                # Above the first level, go on to the last page whose first key is smaller.
                at[places] = begin + (smaller if number == 0 else np.maximum(smaller - 1, 0))
        positions = np.empty(len(keys), np.int64)
        positions[ranking] = at
        return positions


def _require_fitting(pages: RawPages, layout: IdLayout, rows: int) -> None:
    """Raise DamagedIndex where the description does not fit the file."""
    fits = pages.layout.page_bytes == ID_PAGE_BYTES and layout.slots.count == rows
    for section in layout.sections:
        fits = fits and section.offset % ID_PAYLOAD_BYTES == 0
        fits = fits and section.first_page + section.page_count <= pages.page_count
    if not fits:
        raise DamagedIndex(
            f"{pages.path}: does not fit its description in the manifest; restore a copy of the index "
            "or build it again",
            str(pages.path),
        )
