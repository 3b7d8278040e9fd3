"""Write what an open index may hold in RAM: router, codes, and the quantiser of representatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.coding import RouterCodes, VectorCodes, lane_major
from pageann.index.builder.parallel import ranges
from pageann.index.builder.quantizer import Coder
from pageann.index.builder.residency import Residency
from pageann.index.kernels.scan import LANES
from pageann.index.segment_files import PLACE_SLACK_BYTES, tag_text
from pageann.storage.bundle import BundleWriter
from pageann.storage.files import Files
from pageann.storage.manifest import FileEntry

__all__ = ["write_copies", "write_reps", "write_router", "write_vector_codes"]

_BLOCK_BYTES = 4 << 20


def _write_coder(writer: BundleWriter, coder: Coder) -> None:
    for name, array in coder.arrays().items():
        writer.write(name, array)


def _readable(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """With the bytes behind the last block that the scan kernels read and ignore."""
    return np.concatenate([codes, np.zeros(LANES, np.uint8)])


def _finish(writer: BundleWriter) -> FileEntry:
    size, checksum = writer.close()
    return FileEntry(size, checksum)


def write_router(
    files: Files,
    path: Path,
    router: RouterCodes,
    pin_order: npt.NDArray[np.int32],
    quantised: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None,
    tag: int,
) -> FileEntry:
    """Router codes, the order in which pages are worth pinning, and the scale of quantised pages."""
    meta = {
        "level_units": list(router.level_units),
        "level_offsets": list(router.level_offsets),
        "spread_step": router.spread_step,
        "scale": router.quantizer.scale,
        "tag": tag_text(tag),
    }
    with BundleWriter(files, path, meta) as writer:
        writer.write("codes", _readable(router.codes))
        _write_coder(writer, router.quantizer)
        writer.write("pin_order", pin_order)
        if quantised is not None:
            writer.write("quantised_low", quantised[0])
            writer.write("quantised_step", quantised[1])
        return _finish(writer)


def _vector_meta(codes: VectorCodes, tag: int) -> dict[str, Any]:
    return {
        "low": codes.low,
        "step": codes.step,
        "error": codes.error,
        **codes.quantizer.meta(),
        "tag": tag_text(tag),
    }


def write_vector_codes(
    files: Files,
    path: Path,
    codes: VectorCodes,
    group_slots: int,
    tag: int,
    residency: Residency | None = None,
) -> FileEntry:
    """Residual codes of all vectors, group by group in lanes; a few MiB are in memory at a time."""
    rows, stride = codes.codes.shape
    groups = -(-rows // group_slots)
    with BundleWriter(files, path, _vector_meta(codes, tag)) as writer:
        writer.begin("codes", np.uint8, (groups * group_slots * stride + LANES,))
        step = group_slots * max(1, _BLOCK_BYTES // (group_slots * stride))
        for first, last in ranges(rows, step):
            writer.append(lane_major(codes.codes[first:last], group_slots))
            if residency is not None:
                residency.check()
        writer.append(np.zeros(LANES, np.uint8))
        _write_coder(writer, codes.quantizer)
        return _finish(writer)


def write_copies(files: Files, path: Path, places: npt.NDArray[np.uint8], tag: int) -> FileEntry:
    """Which page of copies has the vector of each slot too; ``places`` uint8 (rows, bytes of a number)."""
    with BundleWriter(files, path, {"tag": tag_text(tag)}) as writer:
        writer.write("places", np.concatenate([places.ravel(), np.zeros(PLACE_SLACK_BYTES, np.uint8)]))
        return _finish(writer)


def write_reps(files: Files, path: Path, codes: VectorCodes, tag: int) -> FileEntry:
    """The quantiser of the codes that lie on pages."""
    with BundleWriter(files, path, _vector_meta(codes, tag)) as writer:
        _write_coder(writer, codes.quantizer)
        return _finish(writer)
