"""A whole build: read and check the input, build the segment, calibrate it, publish it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.ids import IdValues, check_ids
from pageann.datasets.source import VectorSource
from pageann.datasets.validate import check_vectors
from pageann.errors import BudgetTooSmall
from pageann.index.builder.calibration import calibrate, default_tunings, draw_sample
from pageann.index.builder.ids import write_ids
from pageann.index.builder.layout import Plan, plan_shape
from pageann.index.builder.navigation import navigation_view
from pageann.index.builder.neighbours import LIST_WIDTH
from pageann.index.builder.parallel import one_blas_thread
from pageann.index.builder.progress import Phases, ProgressCallback
from pageann.index.builder.segment import PHASES, BuiltSegment, SegmentInput, build_segment
from pageann.index.ids_file import IdKind, IdLayout, Section
from pageann.index.machine import available_memory_bytes, peak_rss_bytes
from pageann.index.search.planner import OpenPlan, plan_open, predicted_array_bytes
from pageann.index.segment_files import (
    CALIBRATION_FILE,
    IDS_FILE,
)
from pageann.results import BuildReport
from pageann.storage.canonical import canonical_json
from pageann.storage.checksum import crc32c
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files, OsFiles
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from pageann.storage.whole import write_whole
from pageann.storage.writer import IndexWriter
from pageann.types import ByteSize, Metric, format_bytes

__all__ = ["BuildOptions", "build_index"]

_PHASES = ("reading", *PHASES, "ids", "calibration", "publishing")
_FREE_RAM_SHARE = 0.75
_CALIBRATED_WORKERS = 2
"""The plan that is calibrated is one for so many threads, whatever the build runs on."""
_FINGERPRINT_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build."""

    metric: Metric
    memory: ByteSize
    """What the index is built for."""
    least_memory_bytes: int
    """Raises a smaller ``memory``."""
    build_memory: ByteSize | None
    page_bytes: int | None
    seed: int
    threads: int
    replace: bool

    def to_json(self, memory_bytes: int) -> dict[str, Any]:
        """What of it decides the bytes of the index; the manifest keeps it."""
        return {
            "metric": self.metric.label,
            "memory_bytes": memory_bytes,
            "page_bytes": self.page_bytes or 0,
            "seed": self.seed,
        }


def _build_bytes(rows: int, dim: int, dtype: np.dtype[Any], metric: Metric, plan: Plan) -> int:
    """Most RAM that a build holds besides the runtime: lists twice while refined, codes, the mapped input."""
    copied = metric is Metric.COSINE or dtype not in (np.dtype(np.uint8), np.dtype(np.float32))
    vectors = rows * dim * (dtype.itemsize + (4 if copied else 0))
    lists = 2 * rows * LIST_WIDTH * 8
    codes = sum(2 * (width + 1) for width in (*plan.shape.code_bytes, plan.shape.rep_bytes)) * rows
    reps = plan.shape.page_count(rows) * 4 * (plan.shape.rep_capacity + plan.shape.link_capacity)
    return vectors + max(lists, lists // 2 + codes + reps) + 24 * rows


def _require_build_memory(options: BuildOptions, needed: int, raw: int) -> None:
    if options.build_memory is None:
        budget = int(_FREE_RAM_SHARE * available_memory_bytes())
    else:
        budget = options.build_memory.resolve(raw)
    if needed > budget:
        raise BudgetTooSmall(
            f"build_memory={format_bytes(budget)} is too small for this input; the build needs "
            f"{needed} bytes ({format_bytes(needed)})",
            needed,
        )


def _fingerprint(vectors: npt.NDArray[Any], ids: IdValues | None, settings: Mapping[str, Any]) -> int:
    """The tag of a segment: a number that differs for different input or options."""
    crc = 0
    for first in range(0, len(vectors), _FINGERPRINT_ROWS):
        crc = crc32c(np.ascontiguousarray(vectors[first : first + _FINGERPRINT_ROWS]), crc)
    id_crc = 0
    if ids is not None:
        id_crc = crc32c("\n".join(ids).encode() if isinstance(ids, list) else np.ascontiguousarray(ids))
    facts = canonical_json(
        {**settings, "crc": crc, "ids": id_crc, "shape": list(vectors.shape), "dtype": str(vectors.dtype)}
    )
    return int.from_bytes(hashlib.blake2b(facts, digest_size=8).digest(), "little")


def _require_memory(source: VectorSource, plan: Plan, memory_bytes: int, options: BuildOptions) -> None:
    """Refuse a budget in which the index could not be opened, before anything is built."""
    arrays = predicted_array_bytes(plan.shape, source.rows, source.dim, plan.rotate)
    no_ids = IdLayout(IdKind.ROWS, Section(0, 0, "<u4")).to_json()
    meta = {"shape": plan.shape.to_json(), "ids": no_ids, "arrays": arrays}
    entry = SegmentEntry(
        "seg-000001", source.rows, source.dim, str(source.dtype), options.metric.label, 0, {}, meta
    )
    plan_open(entry, memory_bytes, _CALIBRATED_WORKERS, default_tunings(plan.shape))


def build_index(
    source: VectorSource,
    path: Path,
    ids: Any,
    options: BuildOptions,
    progress: ProgressCallback | None = None,
    files: Files | None = None,
) -> BuildReport:
    """Build ``source`` into an index at ``path`` and publish it; returns what was made.

    Raises InvalidData, InvalidArgument, BudgetTooSmall, IndexExists, IndexLocked, StorageError,
    BuildCancelled; nothing is published then.
    """
    files = files or OsFiles()
    raw = source.bytes
    memory_bytes = max(options.memory.resolve(raw), options.least_memory_bytes)
    plan = plan_shape(source.rows, source.dim, source.dtype, options.metric, memory_bytes, options.page_bytes)
    needed = _build_bytes(source.rows, source.dim, source.dtype, options.metric, plan)
    _require_build_memory(options, needed, raw)
    _require_memory(source, plan, memory_bytes, options)
    phases = Phases(_PHASES, progress)
    with IndexDirectory(path, files).writer(replace=options.replace) as writer, one_blas_thread():
        phases.start("reading")
        vectors = source.mapped(writer.scratch_path)
        check_vectors(vectors, options.metric, name=source.name)
        given = source.ids if ids is None else ids
        checked = None if given is None else check_ids(given, source.rows)
        return _build(writer, vectors, checked, plan, memory_bytes, options, phases, files)


def _build(
    writer: IndexWriter,
    vectors: npt.NDArray[Any],
    ids: IdValues | None,
    plan: Plan,
    memory_bytes: int,
    options: BuildOptions,
    phases: Phases,
    files: Files,
) -> BuildReport:
    folder = writer.segment_path
    settings = options.to_json(memory_bytes)
    tag = _fingerprint(vectors, ids, settings)
    navigation = navigation_view(vectors, options.metric, writer.scratch_path)
    build = SegmentInput(
        vectors, navigation, options.metric, plan.shape, plan.rotate, options.seed, options.threads, tag
    )
    rows, dim = vectors.shape
    arrays = predicted_array_bytes(plan.shape, rows, dim, plan.rotate)
    built = build_segment(build, folder, files, phases.start)
    phases.start("ids")
    id_entry, id_meta = write_ids(files, folder / IDS_FILE, built.order, ids, tag)
    written = {**built.files, IDS_FILE: id_entry}
    meta = {"shape": plan.shape.to_json(), "ids": id_meta, "arrays": arrays}

    def entry_of(listed: Mapping[str, FileEntry]) -> SegmentEntry:
        name, dtype = writer.segment_name, str(vectors.dtype)
        return SegmentEntry(name, rows, dim, dtype, options.metric.label, tag, listed, meta)

    done = phases.start("calibration")
    sample = draw_sample(vectors, options.metric, options.seed, options.threads)
    calibration = calibrate(folder, entry_of(written), sample, memory_bytes, options.threads, done)
    opened = plan_open(entry_of(written), memory_bytes, options.threads, calibration.tunings)
    curve = canonical_json(calibration.to_json())
    written[CALIBRATION_FILE] = FileEntry(*write_whole(files, folder / CALIBRATION_FILE, curve))
    phases.start("publishing")
    manifest = writer.publish(entry_of(written), settings)
    return _report(manifest, built, plan, opened, phases)


def _report(
    manifest: Manifest, built: BuiltSegment, plan: Plan, opened: OpenPlan, phases: Phases
) -> BuildReport:
    segment = manifest.segments[0]
    return BuildReport(
        rows=segment.rows,
        dim=segment.dim,
        dtype=segment.dtype,
        metric=segment.metric,
        page_count=plan.shape.page_count(segment.rows),
        page_bytes=plan.shape.page_bytes,
        capacity=plan.shape.capacity,
        index_bytes=manifest.index_bytes,
        seconds=phases.elapsed_seconds,
        phases=phases.finish(),
        peak_rss_bytes=peak_rss_bytes(),
        ledger=opened.ledger,
        packing={"residual_energy": built.residual_energy},
    )
