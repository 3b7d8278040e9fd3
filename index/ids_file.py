"""What lies in ``ids.bin``, as the builder writes and the search reads it.

The file has raw pages of 4 KiB. What they carry is cut into sections of numbers of one type, each
beginning on a page of its own, so that a number never lies on two pages:

- ``slots``: the slot of each row.
- ``ids``: int64 ids by row; for strings, where each row's text begins, and behind the last one where
  the text ends.
- ``text``: the strings one after the other, in UTF-8.
- ``keys``: the way back from id to row. The first level is all ids ascending, or the 64-bit hashes of
  all strings ascending; each further level is the first key of every page of the one below, and the
  last level is one page. A look-up reads one page a level.
- ``rows``: the row of each key of the first level; equal hashes are in the order of their rows.

Row numbers need no ids: then there are only ``slots``.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pageann.errors import FormatTooNew
from pageann.storage.format import PAGE_HEADER_BYTES

__all__ = [
    "ID_PAGE_BYTES",
    "ID_PAYLOAD_BYTES",
    "KEYS_OF_PAGE",
    "IdKind",
    "IdLayout",
    "Section",
    "string_key",
    "string_keys",
    "unsigned_type",
]

ID_PAGE_BYTES = 4096
ID_PAYLOAD_BYTES = ID_PAGE_BYTES - PAGE_HEADER_BYTES
KEYS_OF_PAGE = ID_PAYLOAD_BYTES // 8
"""Keys of a page of any level."""


class IdKind(enum.StrEnum):
    """What the ids of an index are; the value is stored in the manifest."""

    ROWS = "rows"
    """The row numbers themselves."""
    INT64 = "int64"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Section:
    """``count`` numbers of one type, one after the other."""

    offset: int
    """Byte of the first one, among all that the pages carry."""
    count: int
    type: str
    """As NumPy writes it: ``<u4``, ``<u8``, ``<i8`` or ``|u1``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return np.dtype(self.type)

    @property
    def bytes(self) -> int:
        """Bytes of all numbers."""
        return self.count * self.dtype.itemsize

    @property
    def first_page(self) -> int:
        """The data page on which the section begins."""
        return self.offset // ID_PAYLOAD_BYTES

    @property
    def page_count(self) -> int:
        """Data pages that the section takes."""
        return -(-self.bytes // ID_PAYLOAD_BYTES)

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"offset": self.offset, "count": self.count, "type": self.type}


@dataclass(frozen=True, slots=True)
class IdLayout:
    """Where everything lies in one ``ids.bin``; sections that its kind does not have are None."""

    kind: IdKind
    slots: Section
    ids: Section | None = None
    text: Section | None = None
    keys: tuple[Section, ...] = ()
    rows: Section | None = None

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections, in the order in which they lie in the file."""
        named = (self.slots, self.ids, self.text, *self.keys, self.rows)
        return tuple(section for section in named if section is not None)

    @property
    def row_to_id_bytes(self) -> int:
        """Bytes of what turns rows into ids: 0 where they are the same."""
        return sum(section.bytes for section in (self.ids, self.text) if section is not None)

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        named = {"slots": self.slots, "ids": self.ids, "text": self.text, "rows": self.rows}
        return {
            "kind": self.kind.value,
            "keys": [section.to_json() for section in self.keys],
            **{name: section.to_json() for name, section in named.items() if section is not None},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read back :meth:`to_json`; FormatTooNew for ids of an unknown kind."""
        if fields["kind"] not in list(IdKind):
            raise FormatTooNew(
                f"ids of the kind {fields['kind']!r} need a newer PageANN; upgrade to read them"
            )
        named = {name: Section(**fields[name]) for name in ("slots", "ids", "text", "rows") if name in fields}
        keys = tuple(Section(**section) for section in fields["keys"])
        return cls(kind=IdKind(fields["kind"]), keys=keys, **named)


def unsigned_type(largest: int) -> str:
    """The type that numbers up to ``largest`` are stored in."""
    return "<u4" if largest <= np.iinfo(np.uint32).max else "<u8"


def string_key(data: bytes) -> int:
    """The 64-bit hash under which the string with this UTF-8 is found, on any machine."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def string_keys(values: Iterable[bytes], count: int) -> npt.NDArray[np.uint64]:
    """:func:`string_key` of ``count`` strings, uint64 (count,)."""
    return np.fromiter(map(string_key, values), np.uint64, count)
