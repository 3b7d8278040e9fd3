"""Everything that can be said of an open index, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pageann.index.kernels.scan import USES_SHUFFLES
from pageann.index.search.effort import Calibration
from pageann.index.search.ids import IdMap
from pageann.index.search.load import LoadedSegment
from pageann.index.search.planner import OpenPlan, raw_bytes
from pageann.storage.checksum_kernels import HARDWARE
from pageann.storage.io.probe import Choice
from pageann.storage.manifest import Manifest

__all__ = ["describe_index"]


def describe_index(
    path: Path,
    manifest: Manifest,
    segment: LoadedSegment,
    plan: OpenPlan,
    calibration: Calibration,
    choice: Choice,
    ids: IdMap,
) -> dict[str, Any]:
    """Facts, files, ledger, driver and recall curve."""
    entry, shape = segment.entry, segment.shape
    raw = raw_bytes(entry)
    return {
        "path": str(path),
        "version": manifest.version,
        "rows": entry.rows,
        "dim": entry.dim,
        "dtype": entry.dtype,
        "metric": entry.metric,
        "ids": str(ids.kind),
        "raw_bytes": raw,
        "index_bytes": manifest.index_bytes,
        "index_over_raw": manifest.index_bytes / raw,
        "options": dict(manifest.options),
        "layout": {
            **shape.to_json(),
            "page_count": shape.page_count(entry.rows),
            "group_count": shape.group_count(entry.rows),
        },
        "files": {name: file.bytes for name, file in sorted(entry.files.items())},
        "resident": {
            "code_bytes": plan.residence.code_bytes,
            "code_family": str(shape.code_family) if plan.residence.code_bytes else None,
            "pinned_pages": plan.residence.pinned_pages,
            "direct_records": plan.residence.direct_records,
            "copies": bool(plan.residence.code_bytes and shape.copy_pages),
            "ids": plan.ids_resident,
        },
        "ledger": plan.ledger.to_dict(),
        "io": {"driver": choice.driver, "reason": choice.reason, "direct_io": segment.direct_io},
        "kernels": {
            "scan": "avx2 shuffles" if USES_SHUFFLES else "plain",
            "crc32c": "sse4.2" if HARDWARE else "table",
        },
        "calibration": calibration.to_json(),
    }
