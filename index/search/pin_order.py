"""The order in which pages are worth pinning: as built, or as an optimized index has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pageann.index.search.soundness import check_pin_order, check_tag, sound_fields
from pageann.index.segment_files import PINS_FILE, ROUTER_FILE, tag_text
from pageann.storage.bundle import Bundle, BundleWriter
from pageann.storage.files import Files
from pageann.storage.manifest import FileEntry, SegmentEntry
from pageann.storage.revision import listed_name

__all__ = ["read_pin_order", "write_pin_order"]

_ARRAY = "pin_order"


def read_pin_order(folder: Path, entry: SegmentEntry, page_count: int) -> npt.NDArray[np.int32]:
    """Page numbers int32, the one that is worth most first. Raises DamagedIndex or StorageError."""
    path = folder / (listed_name(entry.files, PINS_FILE) or ROUTER_FILE)
    with sound_fields(path), Bundle.open(path) as bundle:
        check_tag(bundle, entry)
        order = bundle.read(_ARRAY)
        check_pin_order(path, order, page_count)
        return order


def write_pin_order(files: Files, path: Path, order: npt.NDArray[np.int32], tag: int) -> FileEntry:
    """Write the file that takes the place of the order as built."""
    with BundleWriter(files, path, {"tag": tag_text(tag)}) as writer:
        writer.write(_ARRAY, order)
        return FileEntry(*writer.close())
