"""A whole build: read and check the input, build the segment, calibrate it, publish it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pageann.datasets.ids import IdValues, check_ids
from pageann.datasets.source import VectorSource
from pageann.errors import BuildCancelled, StorageError
from pageann.index.builder.calibration import CALIBRATED_KS, calibrate
from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.code_choice import LEAST_MEASURED_ROWS
from pageann.index.builder.disk_room import DiskRoom, most_id_bytes
from pageann.index.builder.fitting import CodeChoice, code_choices, fitted_plan
from pageann.index.builder.heldout import Sample, draw_sample
from pageann.index.builder.ids import write_ids
from pageann.index.builder.layout import Plan
from pageann.index.builder.needs import build_budget, build_needs, expected_peak_bytes, require_disk
from pageann.index.builder.options import BuildOptions
from pageann.index.builder.parallel import one_blas_thread
from pageann.index.builder.progress import Phases, ProgressCallback
from pageann.index.builder.query_sample import SolvedSample, with_truth
from pageann.index.builder.remembered import recall_plan
from pageann.index.builder.residency import Residency
from pageann.index.builder.segment import BuiltSegment, SegmentInput, build_segment
from pageann.index.builder.stamp import build_stamp, input_tag, read_input
from pageann.index.machine import peak_rss_bytes, resident_bytes
from pageann.index.search.effort import Calibration
from pageann.index.search.planner import OpenPlan, plan_open, predicted_array_bytes
from pageann.index.segment_files import CALIBRATION_FILE, IDS_FILE, Shape
from pageann.results import BuildPrediction, BuildReport
from pageann.storage.canonical import canonical_json
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files, OsFiles
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from pageann.storage.whole import write_whole
from pageann.storage.writer import IndexWriter

__all__ = ["PHASE_WEIGHTS", "BuildOptions", "build_index", "checked_ids", "phase_weights"]

PHASE_WEIGHTS = {
    "reading": 1.0,
    "partition": 2.0,
    "neighbours": 36.0,
    "packing": 23.0,
    "copies": 22.0,
    "codes": 8.0,
    "pages": 9.0,
    "ids": 1.0,
    "calibration": 19.0,
    "publishing": 1.0,
}
"""Phases in order, and about how many per cent of a build without copies each takes."""
_RESUMED = "going on with the build that stopped here"
_STALE = "removed what a build of another input, other options or another version had left here"


def phase_weights(shape: Shape) -> dict[str, float]:
    """The phases of a build of ``shape`` in order, and what each costs beside the others."""
    return {name: cost for name, cost in PHASE_WEIGHTS.items() if name != "copies" or shape.copy_pages}


@dataclass(frozen=True, slots=True)
class _Build:
    """What all steps of one build share."""

    writer: IndexWriter
    files: Files
    store: Checkpoints
    options: BuildOptions
    plan: Plan
    memory_bytes: int
    phases: Phases
    disk: DiskRoom | None = None


def checked_ids(source: VectorSource, ids: Any) -> IdValues | None:
    """``ids``, or those that ``source`` carries; None for row numbers. InvalidData for unusable ones."""
    given = source.ids if ids is None else ids
    return None if given is None else check_ids(given, source.rows)


def build_index(
    source: VectorSource,
    path: Path,
    ids: Any,
    options: BuildOptions,
    progress: ProgressCallback | None = None,
    files: Files | None = None,
    plan: Plan | None = None,
) -> BuildReport:
    """Build ``source`` into an index at ``path`` and publish it; returns what was made.

    ``plan`` takes the place of the shape that fits the memory.

    Raises InvalidData, InvalidArgument, BudgetTooSmall, IndexExists, IndexLocked, StorageError,
    BuildCancelled; nothing is published then. Unless ``options.resume`` is off, what a cancelled or
    interrupted build, or one that the disk failed, has done is kept for the next one.
    """
    files = files or OsFiles()
    raw = source.bytes
    memory_bytes = max(options.memory.resolve(raw), options.least_memory_bytes)
    shape = source.rows, source.dim, source.dtype
    disk = checked = None
    if plan is None:
        if options.disk_bytes is not None:  # ids have their share of the disk
            checked = checked_ids(source, ids)
            disk = DiskRoom(options.disk_bytes, most_id_bytes(checked, source.rows))
        plan = fitted_plan(*shape, options.metric, memory_bytes, options.page_bytes, disk, options.codes)
    needs = build_needs(*shape, plan, memory_bytes, options, disk)
    budget = build_budget(options, needs, raw)
    require_disk(path, needs)
    start_bytes = resident_bytes()
    phases = Phases(phase_weights(plan.shape), progress)
    residency = Residency(budget)
    writer = IndexDirectory(path, files).writer(replace=options.replace, keep_scratch=options.resume)
    with writer, one_blas_thread():
        store = Checkpoints(
            files, writer.scratch_path, writer.segment_path, residency, lambda: phases.fraction
        )
        build = _Build(writer, files, store, options, plan, memory_bytes, phases, disk)
        with _kept_when_stopped(build):
            phases.start("reading")
            vectors = source.mapped(writer.scratch_path)
            residency.watch(vectors)
            if disk is None:
                checked = checked_ids(source, ids)
            crc = read_input(vectors, options.metric, source.name, residency)
            report = _build(build, vectors, checked, crc)
    remembered = recall_plan(source, options, memory_bytes)
    predicted = BuildPrediction(
        peak_rss_bytes=expected_peak_bytes(start_bytes, budget, needs),
        disk_bytes=needs.disk_bytes,
        index_bytes=needs.index_bytes,
        seconds=None if remembered is None else remembered.seconds,
        usual_units=None if remembered is None else remembered.usual_units,
    )
    return dataclasses.replace(report, predicted=predicted)


@contextmanager
def _kept_when_stopped(build: _Build) -> Iterator[None]:
    """Keep what is finished when the build is stopped for a reason that another run may not have."""
    try:
        yield
    except (BuildCancelled, KeyboardInterrupt, StorageError, MemoryError) as error:
        if build.options.resume and build.store.has_work:
            build.writer.keep_unfinished()
            if not isinstance(error, StorageError):
                with suppress(StorageError, MemoryError):  # what was durable before stays
                    build.store.save()
        raise


def _build(build: _Build, vectors: npt.NDArray[Any], ids: IdValues | None, crc: int) -> BuildReport:
    options, plan, phases, store = build.options, build.plan, build.phases, build.store
    settings = options.to_json(build.memory_bytes)
    tag = input_tag(vectors, ids, settings, crc)
    outcome = store.begin(build_stamp(tag, build.writer.segment_name))
    if outcome != "new":
        phases.note(_RESUMED if outcome == "resumed" else _STALE, store.resumed_fraction)
    solved = _solve_sample(build, vectors)
    given = SegmentInput(
        vectors, options.metric, plan.shape, plan.rotate, options.seed, options.threads, tag, solved,
        _choices(build, vectors),
    )  # fmt: skip
    built = build_segment(given, build.writer.segment_path, build.files, phases.start, store)
    written, meta = _write_ids(build, built, ids, vectors.shape[1], tag)

    def entry_of(listed: Mapping[str, FileEntry]) -> SegmentEntry:
        name, dtype = build.writer.segment_name, str(vectors.dtype)
        rows, dim = vectors.shape
        return SegmentEntry(name, rows, dim, dtype, options.metric.label, tag, listed, meta)

    calibration = _calibrate(build, entry_of(written), vectors, solved)
    opened = plan_open(entry_of(written), build.memory_bytes, options.threads, calibration.tunings)
    curve = canonical_json(calibration.to_json())
    folder = build.writer.segment_path
    written[CALIBRATION_FILE] = FileEntry(*write_whole(build.files, folder / CALIBRATION_FILE, curve))
    phases.start("publishing")(1, 1)
    manifest = build.writer.publish(entry_of(written), settings)
    return _report(manifest, built, plan, opened, calibration, phases)


def _choices(build: _Build, vectors: npt.NDArray[Any]) -> tuple[CodeChoice, ...]:
    """Shapes that differ in their codes; empty where their family is given, or little depends on it."""
    options, plan = build.options, build.plan
    rows, dim = vectors.shape
    if options.codes is not None or not plan.shape.code_bytes or rows < LEAST_MEASURED_ROWS:
        return ()
    return code_choices(rows, dim, vectors.dtype, options.metric, plan, build.memory_bytes, build.disk)


def _write_ids(
    build: _Build, built: BuiltSegment, ids: IdValues | None, dim: int, tag: int
) -> tuple[dict[str, FileEntry], dict[str, Any]]:
    """(all files so far, the segment's description) with the file of ids written."""
    build.phases.start("ids")
    known = build.store.find("ids")
    if known is None:
        path = build.writer.segment_path / IDS_FILE
        entry, description = write_ids(build.files, path, built.order, ids, tag)
        known = build.store.finish("ids", description, segment_files={IDS_FILE: entry})
        build.store.save_if_due()
    arrays = predicted_array_bytes(built.shape, len(built.order), dim, build.plan.rotate)
    meta = {"shape": built.shape.to_json(), "ids": known.value, "arrays": arrays}
    return {**built.files, **known.segment_files}, meta


def _solve_sample(build: _Build, vectors: npt.NDArray[Any]) -> SolvedSample | None:
    options = build.options
    if options.queries_sample is None:
        return None
    solved = with_truth(options.queries_sample, vectors, options.metric, options.threads, build.store)
    build.store.residency.drop()
    return solved


def _calibrate(
    build: _Build, entry: SegmentEntry, vectors: npt.NDArray[Any], solved: SolvedSample | None
) -> Calibration:
    done = build.phases.start("calibration")
    known = build.store.find("calibration")
    if known is not None:
        return Calibration.from_json(known.value)
    if build.store.is_due:  # it takes a while, and all before it would be lost
        build.store.save()
    options, folder = build.options, build.writer.segment_path
    build.store.residency.drop()  # the index that is opened now needs the room
    sample = _held_out(build, vectors) if solved is None else solved.for_calibration()
    build.store.residency.drop()
    kept = _KeptParts(build.store)
    calibration = calibrate(folder, entry, sample, build.memory_bytes, options.threads, done, kept=kept)
    build.store.finish("calibration", calibration.to_json())
    build.store.save_if_due()
    return calibration


def _held_out(build: _Build, vectors: npt.NDArray[Any]) -> Sample:
    """The rows to calibrate with, and their truth, which takes a pass over all vectors."""
    options, store = build.options, build.store
    known = store.find("held-out")
    if known is not None:
        return Sample(**known.arrays, integral=known.value)
    sample = draw_sample(
        vectors, options.metric, options.seed, options.threads, max(CALIBRATED_KS), store.residency
    )
    arrays: dict[str, npt.NDArray[Any]] = {
        "rows": sample.rows,
        "queries": sample.queries,
        "distances": sample.distances,
    }
    store.finish("held-out", sample.integral, arrays)
    store.save_if_due()
    return sample


@dataclass(frozen=True, slots=True)
class _KeptParts:
    """Parts of a calibration as steps of the build."""

    store: Checkpoints

    def find(self, name: str) -> Any:
        """The value of a part, or None."""
        known = self.store.find(f"calibration-{name}")
        return None if known is None else known.value

    def keep(self, name: str, value: Any) -> None:
        """Keep the value of a part."""
        self.store.finish(f"calibration-{name}", value)
        self.store.save_if_due()


def _report(
    manifest: Manifest,
    built: BuiltSegment,
    plan: Plan,
    opened: OpenPlan,
    calibration: Calibration,
    phases: Phases,
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
        usual_units=calibration.usual_units(opened.residence.code_bytes),
    )
