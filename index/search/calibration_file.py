"""The file of the stored recall curves: as built, or as tuned since."""

from __future__ import annotations

import json
from pathlib import Path

from pageann.errors import DamagedIndex
from pageann.index.search.effort import Calibration
from pageann.index.segment_files import CALIBRATION_FILE
from pageann.storage.canonical import canonical_json
from pageann.storage.files import Files
from pageann.storage.manifest import FileEntry, SegmentEntry
from pageann.storage.revision import listed_name
from pageann.storage.whole import read_listed, write_whole

__all__ = ["read_calibration", "write_calibration"]


def read_calibration(folder: Path, entry: SegmentEntry) -> Calibration:
    """The curves of the segment in ``folder``. Raises DamagedIndex or StorageError."""
    name = listed_name(entry.files, CALIBRATION_FILE)
    if name is None:
        path = folder / CALIBRATION_FILE
        raise DamagedIndex(f"{path}: the manifest does not list it; build the index again", str(path))
    path = folder / name
    data = read_listed(path, entry.files[name])
    try:
        return Calibration.from_json(json.loads(data))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"{path}: cannot be understood: {error}", str(path)) from None


def write_calibration(files: Files, path: Path, calibration: Calibration) -> FileEntry:
    """Write curves; equal ones give equal bytes."""
    return FileEntry(*write_whole(files, path, canonical_json(calibration.to_json())))
