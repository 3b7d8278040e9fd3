"""Fit the stored recall curves of an index to the queries of its user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.calibration import CALIBRATED_KS, Sample, calibrate
from pageann.index.builder.progress import Phases, ProgressCallback
from pageann.index.search.calibration_file import read_calibration, write_calibration
from pageann.index.search.effort import Calibration
from pageann.index.search.load import Residence, load_segment
from pageann.index.search.query_log import checked_log
from pageann.index.search.records import RecordReader
from pageann.index.segment_files import CALIBRATION_FILE
from pageann.revision_reports import TunedEffort, TuneReport
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files
from pageann.storage.manifest import SegmentEntry
from pageann.storage.revision import IndexRevision
from pageann.types import Metric

__all__ = ["tune_index"]

_PHASES = ("truth", "curves", "publishing")
_MOST_QUERIES = 2000
_CAREFUL_QUERIES = 300
"""Fewer are worth a warning."""
_REPORTED_RECALLS = (0.9, 0.95, 0.99)


def tune_index(
    path: Path,
    queries: Any,
    threads: int,
    progress: ProgressCallback | None = None,
    files: Files | None = None,
) -> TuneReport:
    """Measure recall on ``queries``, whose truth an exact scan tells, and publish the curves.

    Raises InvalidArgument, IndexNotFound, IndexLocked, DamagedIndex, FormatTooNew, StorageError or
    BuildCancelled; the index then stays as it was.
    """
    directory = IndexDirectory(path, files)
    phases = Phases(_PHASES, progress)
    with IndexRevision(directory) as revision:
        entry, folder = revision.segment, revision.segment_path
        before = read_calibration(folder, entry)
        values, integral = checked_log(queries, entry, _MOST_QUERIES, "tune")
        phases.start("truth")
        sample = _sample(folder, entry, values, integral, threads)
        done = phases.start("curves")
        tuned = calibrate(folder, entry, sample, before.memory_bytes, threads, done, thorough=True)
        phases.start("publishing")
        name = revision.name_of(CALIBRATION_FILE)
        manifest = revision.publish({name: write_calibration(directory.files, folder / name, tuned)})
    return _report(path, manifest.version, before, tuned)


def _sample(
    folder: Path, entry: SegmentEntry, queries: npt.NDArray[np.float32], integral: bool, threads: int
) -> Sample:
    """The queries with the distances of their true neighbours; no row is left out of an answer."""
    segment = load_segment(folder, entry, Residence(0, 0, False))
    try:
        _, distances = RecordReader.of_segment(segment).exact_scan(
            queries, min(max(CALIBRATED_KS), entry.rows), Metric.parse(entry.metric),
            integral=integral, threads=threads,
        )  # fmt: skip
    finally:
        segment.close()
    return Sample(np.full(len(queries), -1, np.int64), queries, integral, distances)


def _report(path: Path, version: int, before: Calibration, after: Calibration) -> TuneReport:
    interval = _interval(after)
    warnings = []
    if after.sample < _CAREFUL_QUERIES:
        warnings.append(
            f"{after.sample} queries tell recall to +-{interval:.3f} only, and searches by recall are that "
            "much more careful; give 1,000 to save reads"
        )
    return TuneReport(
        path=str(path),
        version=version,
        queries=after.sample,
        interval=interval,
        efforts=tuple(_efforts(before, after)),
        warnings=tuple(warnings),
    )


def _interval(calibration: Calibration) -> float:
    """Half the width of the confidence interval where curves for k=10 come nearest to a recall of 0.95."""
    points = [point for curve in calibration.curves if curve.k == 10 for point in curve.points]
    points = points or [point for curve in calibration.curves for point in curve.points]
    nearest = min(points, key=lambda point: abs(point.recall - 0.95), default=None)
    return 0.0 if nearest is None else nearest.recall - nearest.recall_low


def _efforts(before: Calibration, after: Calibration) -> Iterator[TunedEffort]:
    for curve in after.curves:
        for recall in _REPORTED_RECALLS:
            effort, reached = curve.effort_for(recall)
            earlier, _ = before.effort_for(recall, curve.k, curve.code_bytes)
            reads = next(
                (each.reads for each in curve.points if each.effort >= effort), curve.points[-1].reads
            )
            yield TunedEffort(curve.code_bytes, curve.k, recall, earlier, effort, reached, reads)
