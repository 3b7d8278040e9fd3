"""Hold what was read from a segment's files against its shape, once, so that kernels need not look.

Checksums tell of bytes that changed; here a sound file of a faulty writer is found out before an
index that it implies leads out of bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex, InvalidArgument
from pageann.index.code_families import Family
from pageann.index.kernels.scan import LANES
from pageann.index.kernels.state import KIND_BYTES, KIND_FACTORED, MAX_LEVELS
from pageann.index.segment_files import PAGES_FILE, PLACE_SLACK_BYTES, Shape, tag_text
from pageann.storage.bundle import Bundle
from pageann.storage.format import PageLayout
from pageann.storage.manifest import SegmentEntry
from pageann.types import dtype_code

__all__ = [
    "check_code_length",
    "check_copy_places",
    "check_pages_of_shape",
    "check_pin_order",
    "check_quantizer",
    "check_rep_bytes",
    "check_router",
    "check_tag",
    "check_vector",
    "sound_fields",
]

_PLACES_AT_ONCE = 65_536


def _contradiction(path: Path, what: str) -> DamagedIndex:
    message = f"{path}: {what}; restore a copy of the index or build it again"
    return DamagedIndex(message, str(path))


@contextmanager
def sound_fields(path: Path) -> Iterator[None]:
    """Within, a field of ``path`` that is missing or of the wrong kind becomes DamagedIndex."""
    try:
        yield
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise _contradiction(path, f"a field is missing or not of its kind ({error})") from None


def _expected_layout(name: str, entry: SegmentEntry, shape: Shape) -> PageLayout:
    dtype = np.dtype(entry.dtype)
    if name != PAGES_FILE:
        return PageLayout.of_vectors(
            shape.exact_page_bytes, shape.exact_capacity, entry.dim, dtype, shape.row_bytes, entry.tag
        )
    stored = np.dtype(np.uint8) if shape.quantised else dtype
    rep_code_bytes = shape.rep_bytes + 1 if shape.rep_capacity else 0
    return PageLayout(
        shape.page_bytes, shape.capacity, entry.dim, dtype_code(stored), shape.row_bytes,
        shape.link_capacity, shape.rep_capacity, rep_code_bytes, entry.tag,
    )  # fmt: skip


def check_pages_of_shape(
    path: Path, layout: PageLayout, page_count: int, entry: SegmentEntry, shape: Shape
) -> None:
    """DamagedIndex unless a page file is laid out, and as long, as the manifest says."""
    if layout.tag != entry.tag:
        raise _contradiction(path, "it belongs to another index")
    try:
        expected = _expected_layout(path.name, entry, shape)
    except InvalidArgument as error:
        raise _contradiction(path, f"the manifest's shape is impossible ({error})") from None
    copy_pages = shape.copy_pages if path.name == PAGES_FILE else 0
    if layout != expected or page_count != -(-entry.rows // layout.capacity) + copy_pages:
        raise _contradiction(path, "its pages are not those that the manifest tells of")


def check_vector(path: Path, name: str, array: npt.NDArray[Any], dtype: type, length: int) -> None:
    """DamagedIndex unless ``array`` holds ``length`` elements of ``dtype`` in one dimension."""
    if array.dtype != dtype or array.shape != (length,):
        found = f"{array.dtype} {array.shape}"
        raise _contradiction(path, f"array {name!r} is {found}, not {np.dtype(dtype)} ({length},)")


def check_quantizer(
    path: Path,
    dim: int,
    rotation: npt.NDArray[Any],
    starts: npt.NDArray[Any],
    words: npt.NDArray[Any],
    family: Family = Family.PQ4,
) -> int:
    """Bytes of a code; DamagedIndex unless the parts of codes of ``family`` cover ``dim`` dimensions."""
    if rotation.dtype != np.int16 or rotation.shape not in ((0, 0), (dim, dim)):
        raise _contradiction(path, f"its rotation is {rotation.dtype} {rotation.shape}")
    check_vector(path, "starts", starts, np.int32, len(starts))
    if len(starts) < 2 or starts[0] != 0 or (np.diff(starts.astype(np.int64)) < 0).any():
        raise _contradiction(path, "the parts of its codes do not follow one another")
    if not family.has_bounds(starts.tolist(), dim):
        raise _contradiction(path, "the parts of its codes do not cover the dimensions")
    check_vector(path, "words", words, np.float32, family.words * int(starts[-1]))
    if family.kind == KIND_BYTES:
        return len(starts) - 1
    return len(starts) // 2 + int(family.kind == KIND_FACTORED)


def check_router(
    path: Path,
    units: Sequence[int],
    offsets: Sequence[int],
    groups: int,
    code_bytes: int,
    codes: npt.NDArray[Any],
) -> None:
    """DamagedIndex unless the levels rise from ``groups`` and their codes lie one after another."""
    if not 1 <= len(units) <= MAX_LEVELS or len(offsets) != len(units):
        raise _contradiction(path, f"it has {len(units)} levels")
    wanted, position = groups, 0
    for count, offset in zip(units, offsets, strict=True):
        if count != wanted or offset != position:
            raise _contradiction(
                path, f"a level of {count} units at byte {offset}, where {wanted} belong at {position}"
            )
        wanted = -(-count // LANES)
        position += wanted * LANES * (code_bytes + 1)
    check_code_length(path, codes, position)


def check_code_length(path: Path, codes: npt.NDArray[Any], length: int) -> None:
    """DamagedIndex unless there are codes of ``length`` bytes, and behind them what scans read too far."""
    check_vector(path, "codes", codes, np.uint8, length + LANES)


def check_rep_bytes(path: Path, code_bytes: int, layout: PageLayout) -> None:
    """DamagedIndex unless codes on pages are as long as the quantiser makes them, and their constant."""
    if layout.rep_code_bytes != code_bytes + 1:
        raise _contradiction(
            path, f"its codes take {code_bytes + 1} bytes, those on pages {layout.rep_code_bytes}"
        )


def check_pin_order(path: Path, pages: npt.NDArray[Any], page_count: int) -> None:
    """DamagedIndex unless ``pages`` are numbers of pages."""
    check_vector(path, "pin_order", pages, np.int32, len(pages))
    if len(pages) and not (pages.min() >= 0 and pages.max() < page_count):
        raise _contradiction(path, f"it pins pages that are not among the {page_count}")


def check_copy_places(path: Path, places: npt.NDArray[Any], rows: int, shape: Shape) -> None:
    """DamagedIndex unless each of ``rows`` slots has a number that leads to a page of copies, or is 0."""
    width = shape.copy_bytes
    check_vector(path, "places", places, np.uint8, rows * width + PLACE_SLACK_BYTES)
    for first in range(0, rows, _PLACES_AT_ONCE):
        stored = places[first * width : min(rows, first + _PLACES_AT_ONCE) * width].reshape(-1, width)
        numbers = sum(stored[:, byte].astype(np.int64) << (8 * byte) for byte in range(width))
        if int(np.max(numbers)) > shape.copy_pages:
            raise _contradiction(path, f"it names a page beyond the {shape.copy_pages} pages of copies")


def check_tag(bundle: Bundle, entry: SegmentEntry) -> None:
    """A bundle of another build would answer, and wrongly: DamagedIndex."""
    if bundle.meta["tag"] != tag_text(entry.tag):
        raise _contradiction(bundle.path, "it belongs to another index")
