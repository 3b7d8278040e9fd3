"""Curves for every width of resident codes, by the measurements that a build makes for its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pageann.index.builder.calibration import Sample, calibrate_segment
from pageann.index.search.effort import Calibration, Curve
from pageann.index.search.engine import Engine
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.planner import OpenPlan, residences
from pageann.index.search.tuning import Tuning
from pageann.index.segment_files import PAGES_FILE
from pageann.results import Ledger
from pageann.storage.io.probe import probe
from pageann.storage.manifest import SegmentEntry

__all__ = ["calibrate_widths"]

_SLOTS_PER_THREAD = 8
_SCRATCH_BYTES = 1 << 30
"""Of a query, at most: efforts are measured whether or not a budget has room for them."""

Done = Callable[[int, int], None]


def calibrate_widths(
    folder: Path, entry: SegmentEntry, sample: Sample, before: Calibration, threads: int, done: Done
) -> Calibration:
    """Measure the segment in ``folder`` with each width of codes in memory, the finest first.

    Nothing is pinned meanwhile: that changes no answer, only what it costs.
    """
    tunings: dict[int, Tuning] = dict(before.tunings)
    curves: list[Curve] = []
    ways = residences(entry)
    for number, residence in enumerate(ways):

        def part_done(finished: int, total: int, first: int = number) -> None:
            done(first * total + finished, len(ways) * total)

        segment = load_segment(folder, entry, residence)
        try:
            part = _calibrate(segment, sample, tunings, before.memory_bytes, threads, part_done)
        finally:
            segment.close()
        tunings[residence.code_bytes] = part.tunings[residence.code_bytes]
        curves += part.curves
    return Calibration(len(sample.queries), before.memory_bytes, tunings, tuple(curves))


def _calibrate(
    segment: LoadedSegment,
    sample: Sample,
    tunings: dict[int, Tuning],
    memory_bytes: int,
    threads: int,
    done: Done,
) -> Calibration:
    """The curves of one way to open the segment."""
    plan = _ample_plan(segment.residence, tunings[segment.residence.code_bytes])
    driver = probe(segment.folder / PAGES_FILE).driver
    engine = Engine(segment, driver, workers=threads, slots=_SLOTS_PER_THREAD * threads)
    try:
        return calibrate_segment(engine, segment, sample, tunings, memory_bytes, plan, done)
    finally:
        engine.close()


def _ample_plan(residence: Residence, tuning: Tuning) -> OpenPlan:
    """Room for any effort, and rounds as wide as the tuning has them."""
    return OpenPlan(residence, False, 1, _SCRATCH_BYTES, tuning.width, Ledger((), _SCRATCH_BYTES))
