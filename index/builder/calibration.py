"""Measure a freshly written segment: recall against effort on held-out rows, and the widths that pay.

Queries are rows of the index, each left out of its own answer. Every width of resident codes gets a
curve for each k, since that is what decides recall at an effort: how many pages are pinned, and how
many queries are in flight, changes only what it costs. Widths are chosen by counted work times a cost
table, never by a clock, so that the same build gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.index.kernels import state
from pageann.index.search.effort import Calibration, Curve, CurvePoint
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.planner import residences
from pageann.index.search.tuning import NO_LIMIT, Tuning
from pageann.index.segment_files import PAGES_FILE, Shape
from pageann.storage.io.probe import probe
from pageann.storage.manifest import SegmentEntry
from pageann.types import Metric

__all__ = ["CALIBRATED_KS", "Sample", "calibrate", "default_tunings", "draw_sample", "roomiest_tunings"]

CALIBRATED_KS = (1, 10, 100)
_SAMPLE_ROWS = 1000
_SLOTS_PER_THREAD = 8
_SCAN_SLOTS = (300.0, 450.0, 600.0, 900.0)
_FETCH_WIDTH = 32
_WALK_WIDTH = 4
_WALK_SCAN_SLOTS = 60.0
_WALK_CELLS = 48
_WALK_PAGES_SHARE = 0.6
"""Estimates made while walking are too hopeful to end a walk; a count of pages does better."""
_RANKED_PAGES_SHARE = 2.0
"""The same where pages bring no codes of others, and only centroids rank them."""
_MOST_EFFORT = 600
_MOST_READS = 500.0
"""Of a query: points beyond cost more time than they are worth."""
_ENOUGH_RECALL = 0.995
_TUNING_ROWS = 150
"""Of the sample, to choose widths with."""
_TUNED_RECALL = 0.95
_UNIT_COST_US = 15.0
"""Of processor and device together; an asynchronous read of 4 KiB takes about 4 us of the former."""
_CODE_COST_US = 0.005
_INTERVAL = 1.96

Done = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Care:
    """How closely a curve is measured."""

    rows: int
    growth: float
    """Of the effort, from point to point."""


_CLOSE = _Care(_SAMPLE_ROWS, 1.35)
"""For k = 10 with the codes that the index was built for."""
_ROUGH = _Care(300, 1.5)


@dataclass(frozen=True, slots=True)
class Sample:
    """Held-out queries with their truth."""

    rows: npt.NDArray[np.int64]
    queries: npt.NDArray[np.float32]
    integral: bool
    distances: npt.NDArray[np.float64]
    """(m, largest k), ascending."""

    def part(self, rows: int) -> Sample:
        """About ``rows`` of the queries, spread over all."""
        every = slice(None, None, max(1, len(self.rows) // rows))
        queries = np.ascontiguousarray(self.queries[every])
        return Sample(self.rows[every], queries, self.integral, self.distances[every])


def draw_sample(vectors: npt.NDArray[Any], metric: Metric, seed: int, threads: int) -> Sample:
    """Rows to calibrate with, and their exact neighbours without themselves."""
    count = min(_SAMPLE_ROWS, len(vectors))
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False)).astype(np.int64)
    queries = np.ascontiguousarray(vectors[rows], dtype=np.float32)
    k = max(1, min(max(CALIBRATED_KS), len(vectors) - 1))
    _, distances = exact_neighbours(vectors, queries, k, metric, threads=threads, exclude=rows)
    return Sample(rows, queries, vectors.dtype.kind in "iu", distances)


def default_tunings(shape: Shape) -> dict[int, Tuning]:
    """Tunings for each width of resident codes, before anything was measured.

    Where pages bring codes of their neighbours, narrow rounds read fewer of them; where codes are
    resident, nothing is lost by one wide round. Without resident codes the router's scores are most of
    a query's memory, and few are enough.
    """
    width = _WALK_WIDTH if shape.rep_capacity else _FETCH_WIDTH
    power = (
        1.0 if shape.rep_capacity else 0.5
    )  # a margin asks for few more candidates, a pool for all it holds
    tunings = {
        code_bytes: Tuning(scan_slots=300.0, scan_power=power, width=width) for code_bytes in shape.code_bytes
    }
    share = _WALK_PAGES_SHARE if shape.rep_capacity else _RANKED_PAGES_SHARE
    walk = Tuning(_WALK_SCAN_SLOTS, width=_WALK_WIDTH, most_cells=_WALK_CELLS, pages_share=share)
    return {**tunings, 0: walk}


def roomiest_tunings(shape: Shape, rows: int) -> dict[int, Tuning]:
    """Those of all that calibration may choose from whose queries take the most memory."""
    widest = max(_scan_choices(rows))
    return {
        code_bytes: replace(tuning, scan_slots=widest) if code_bytes else tuning
        for code_bytes, tuning in default_tunings(shape).items()
    }


def _scan_choices(rows: int) -> list[float]:
    """Codes to score for each unit of effort that are worth trying: no effort needs more than all rows."""
    return [slots for slots in _SCAN_SLOTS if slots <= max(rows / 10, _SCAN_SLOTS[0])]


def _ladder(k: int, rows: int, growth: float) -> list[int]:
    efforts = [max(2, k // 2)]
    while efforts[-1] < min(_MOST_EFFORT, rows):
        efforts.append(max(efforts[-1] + 1, round(efforts[-1] * growth)))
    return efforts


class _Meter:
    """Runs a sample through an engine."""

    def __init__(self, engine: Engine, segment: LoadedSegment, sample: Sample) -> None:
        self._engine = engine
        self._segment = segment
        self._sample = sample

    def point(self, tuning: Tuning, k: int, effort: int) -> CurvePoint:
        size = tuning.size(k, effort, self._segment.shape.group_slots, tuning.width)
        options = CallOptions(
            size,
            size.width,
            size.width,
            tuning.rerank(k),
            NO_LIMIT,
            0,
            self._sample.integral,
            tuning.walk_pages(effort),
        )
        answers = self._engine.run(self._sample.queries, options, self._sample.rows)
        recalls = recall_at_k(
            answers.distances, self._sample.distances, min(k, self._sample.distances.shape[1])
        )
        error = _INTERVAL * float(recalls.std()) / math.sqrt(len(recalls))
        counters = answers.counters.mean(axis=0)
        mean = float(recalls.mean())
        return CurvePoint(
            effort=effort,
            recall=round(mean, 6),
            recall_low=round(max(0.0, mean - error), 6),
            reads=round(float(counters[state.N_READS]), 4),
            units=round(float(counters[state.N_HALF_UNITS]) / 2, 4),
            hops=round(float(counters[state.N_HOPS]), 4),
            codes=round(float(counters[state.N_CODES]), 2),
        )

    def curve(self, tuning: Tuning, k: int, growth: float, enough: float = _ENOUGH_RECALL) -> Curve:
        """Points up to a recall of ``enough``, by default one that hardly anybody asks to exceed."""
        points: list[CurvePoint] = []
        for effort in _ladder(k, self._segment.entry.rows, growth):
            points.append(self.point(tuning, k, effort))
            if points[-1].recall >= enough or points[-1].reads >= _MOST_READS:
                break
        return Curve(k, self._segment.residence.code_bytes, tuple(points))


def _cost_at(curve: Curve, recall: float) -> float:
    """Microseconds of a query at a recall, by the cost table; inf where the curve does not reach it."""
    before: CurvePoint | None = None
    for point in curve.points:
        cost = point.units * _UNIT_COST_US + point.codes * _CODE_COST_US
        if point.recall >= recall:
            if before is None or point.recall <= before.recall:
                return cost
            share = (recall - before.recall) / (point.recall - before.recall)
            lower = before.units * _UNIT_COST_US + before.codes * _CODE_COST_US
            return lower + share * (cost - lower)
        before = point
    return math.inf


def _best_scan(meter: _Meter, tuning: Tuning, rows: int, done: Callable[[], None]) -> Tuning:
    """How many codes to score for each unit of effort."""
    best, least = tuning, math.inf
    worthwhile = _scan_choices(rows)
    for scan_slots in _SCAN_SLOTS:
        if scan_slots in worthwhile:
            candidate = replace(tuning, scan_slots=scan_slots)
            cost = _cost_at(meter.curve(candidate, 10, _CLOSE.growth, _TUNED_RECALL), _TUNED_RECALL)
            if cost < least:
                best, least = candidate, cost
        done()
    return best


@contextmanager
def _opened(
    folder: Path, entry: SegmentEntry, residence: Residence, threads: int
) -> Iterator[tuple[Engine, LoadedSegment]]:
    """An engine over a segment, with nothing pinned and as much room as queries ask for."""
    segment = load_segment(folder, entry, residence)
    try:
        driver = probe(folder / PAGES_FILE).driver
        engine = Engine(segment, driver, workers=threads, slots=_SLOTS_PER_THREAD * threads)
        try:
            yield engine, segment
        finally:
            engine.close()
    finally:
        segment.close()


def calibrate(
    folder: Path,
    entry: SegmentEntry,
    sample: Sample,
    memory_bytes: int,
    threads: int,
    done: Done,
    *,
    thorough: bool = False,
) -> Calibration:
    """Measure the segment in ``folder`` with every width of resident codes; ``sample`` as drawn.

    How many codes are scored for each unit of effort is chosen once, with the finest codes. ``thorough``:
    every curve is measured closely, with all of the sample.
    """
    tunings = default_tunings(Shape.from_json(entry.meta["shape"]))
    curves: list[Curve] = []
    ways = residences(entry)
    steps = (len(_SCAN_SLOTS) if ways[0].code_bytes else 0) + len(CALIBRATED_KS) * len(ways)
    finished = 0

    def step() -> None:
        nonlocal finished
        finished += 1
        done(finished, steps)

    scan_slots = 0.0
    for number, residence in enumerate(ways):
        with _opened(folder, entry, residence, threads) as (engine, segment):
            tuning = tunings[residence.code_bytes]
            if number == 0 and residence.code_bytes:
                chooser = _Meter(engine, segment, sample.part(_TUNING_ROWS))
                scan_slots = _best_scan(chooser, tuning, entry.rows, step).scan_slots
            if residence.code_bytes:
                tuning = tunings[residence.code_bytes] = replace(tuning, scan_slots=scan_slots)
            for k in CALIBRATED_KS:
                care = _CLOSE if number == 0 and k == 10 else _ROUGH
                if thorough:
                    care = _Care(len(sample.rows), _CLOSE.growth)
                meter = _Meter(engine, segment, sample.part(care.rows))
                curves.append(meter.curve(tuning, k, care.growth))
                step()
    return Calibration(len(sample.rows), memory_bytes, tunings, tuple(curves))
