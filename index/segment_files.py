"""Names and contents of the files of a segment, as the builder writes and the search reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "CALIBRATION_FILE",
    "IDS_FILE",
    "PAGES_FILE",
    "PINS_FILE",
    "REPS_FILE",
    "ROUTER_FILE",
    "VECTORS_FILE",
    "Shape",
    "codes_file",
    "tag_text",
]

PAGES_FILE = "pages.bin"
VECTORS_FILE = "vectors.bin"
ROUTER_FILE = "router.bin"
REPS_FILE = "reps.bin"
IDS_FILE = "ids.bin"
CALIBRATION_FILE = "calibration.json"
PINS_FILE = "pins.bin"
"""Of an optimized index: takes the place of the order that is in ROUTER_FILE."""


def codes_file(code_bytes: int) -> str:
    """Name of the file of residual codes of one width."""
    return f"codes-{code_bytes:03d}.bin"


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
        return {**asdict(self), "code_bytes": list(self.code_bytes)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Shape:
        """Read back :meth:`to_json`."""
        return cls(**{**fields, "code_bytes": tuple(fields["code_bytes"])})
