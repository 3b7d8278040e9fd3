"""Names and contents of the files of a segment, as the builder writes and the search reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from pageann.errors import FormatTooNew
from pageann.index.code_families import Family

__all__ = [
    "CALIBRATION_FILE",
    "COPIES_FILE",
    "IDS_FILE",
    "PAGES_FILE",
    "PINS_FILE",
    "PLACE_SLACK_BYTES",
    "REPS_FILE",
    "ROUTER_FILE",
    "VECTORS_FILE",
    "Shape",
    "codes_file",
    "place_bytes",
    "tag_text",
]

PAGES_FILE = "pages.bin"
VECTORS_FILE = "vectors.bin"
ROUTER_FILE = "router.bin"
REPS_FILE = "reps.bin"
COPIES_FILE = "copies.bin"
"""Which page of copies has the vector of each slot too, where there are such pages."""
IDS_FILE = "ids.bin"
CALIBRATION_FILE = "calibration.json"
PLACE_SLACK_BYTES = 4
"""Behind the last number in COPIES_FILE: they are loaded four bytes at a time."""
PINS_FILE = "pins.bin"
"""Of an optimized index: takes the place of the order that is in ROUTER_FILE."""


def codes_file(code_bytes: int) -> str:
    """Name of the file of residual codes of one width."""
    return f"codes-{code_bytes:03d}.bin"


def place_bytes(copy_pages: int) -> int:
    """Bytes of a number that is 0 or one of ``copy_pages``."""
    return max(2, -(-int(copy_pages).bit_length() // 8)) if copy_pages > 0 else 0


def tag_text(tag: int) -> str:
    """A segment's tag as bundles and manifests hold it."""
    return f"{tag:016x}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is stored where; part of the manifest."""

    page_bytes: int
    capacity: int
    """Vectors of a page that the search reads."""
    group_pages: int
    """Pages behind one unit of the router."""
    router_bytes: int
    """Bytes of the code of a group's centroid."""
    code_bytes: tuple[int, ...]
    """Widths of the residual codes kept for all vectors, widest first."""
    rep_bytes: int
    """Bytes of the code of a representative on a page; 0 where pages carry none."""
    rep_capacity: int
    link_capacity: int
    quantised: bool
    """Pages hold vectors of 8 bits a dimension; the exact ones lie in a file of their own."""
    exact_page_bytes: int
    exact_capacity: int
    row_bytes: int
    copy_pages: int = 0
    """Full pages behind those of the slots, in the same file, with vectors once more."""
    code_family: Family = Family.PQ4
    """Of the codes kept for all vectors."""

    @property
    def copy_bytes(self) -> int:
        """Bytes of the number of a page of copies; 0 where there are none."""
        return place_bytes(self.copy_pages)

    @property
    def group_slots(self) -> int:
        """Vectors behind one unit of the router."""
        return self.capacity * self.group_pages

    def page_count(self, rows: int) -> int:
        """Pages of ``rows`` vectors."""
        return -(-rows // self.capacity)

    def group_count(self, rows: int) -> int:
        """Units of the router's lowest level."""
        return -(-rows // self.group_slots)

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        fields = {**asdict(self), "code_bytes": list(self.code_bytes)}
        if not self.copy_pages:
            del fields["copy_pages"]
        if self.code_family is Family.PQ4:
            del fields["code_family"]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Shape:
        """Read back :meth:`to_json`; FormatTooNew where there is more to it."""
        unknown = set(fields) - {each.name for each in dataclass_fields(cls)}
        if unknown:
            raise FormatTooNew(
                f"an index with {', '.join(sorted(unknown))} needs a newer PageANN; upgrade to read it"
            )
        family = fields.get("code_family", Family.PQ4)
        if family not in list(Family):
            raise FormatTooNew(
                f"an index with codes of family {family!r} needs a newer PageANN; upgrade to read it"
            )
        return cls(**{**fields, "code_bytes": tuple(fields["code_bytes"]), "code_family": Family(family)})
