"""Measure a freshly written segment: recall against effort on held-out rows, and the widths that pay.

Queries are rows of the index, each left out of its own answer. Widths are chosen by counted work
times a cost table, never by a clock, so that the same build gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.index.kernels import state
from pageann.index.search.effort import Calibration, Curve, CurvePoint
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment
from pageann.index.search.tuning import Tuning
from pageann.types import Metric

__all__ = ["CALIBRATED_KS", "calibrate_segment", "default_tunings", "draw_sample"]

CALIBRATED_KS = (1, 10, 100)
_SAMPLE_ROWS = 400
_SCAN_SLOTS = (150.0, 300.0, 600.0, 1200.0)
_EFFORT_GROWTH = 1.35
_MOST_EFFORT = 600
_ENOUGH_RECALL = 0.998
_TUNED_RECALL = 0.95
_UNIT_COST_US = 20.0
_CODE_COST_US = 0.012
_INTERVAL = 1.96

Done = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """Held-out queries with their truth."""

    rows: npt.NDArray[np.int64]
    queries: npt.NDArray[np.float32]
    integral: bool
    distances: npt.NDArray[np.float64]
    """(m, largest k), ascending."""


def draw_sample(vectors: npt.NDArray[Any], metric: Metric, seed: int, threads: int) -> Sample:
    """Rows to calibrate with, and their exact neighbours without themselves."""
    count = min(_SAMPLE_ROWS, len(vectors))
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False)).astype(np.int64)
    queries = np.ascontiguousarray(vectors[rows], dtype=np.float32)
    k = max(1, min(max(CALIBRATED_KS), len(vectors) - 1))
    _, distances = exact_neighbours(vectors, queries, k, metric, threads=threads, exclude=rows)
    return Sample(rows, queries, vectors.dtype.kind in "iu", distances)


def default_tunings(widths: tuple[int, ...]) -> dict[int, Tuning]:
    """Tunings before anything was measured."""
    return {width: Tuning(scan_slots=300.0) for width in (*widths, 0)}


def _ladder(k: int, rows: int) -> list[int]:
    efforts = [max(k, 10)]
    while efforts[-1] < min(_MOST_EFFORT, rows):
        efforts.append(max(efforts[-1] + 1, round(efforts[-1] * _EFFORT_GROWTH)))
    return efforts


class _Meter:
    """Runs the sample through an engine."""

    def __init__(self, engine: Engine, segment: LoadedSegment, sample: Sample, width: int) -> None:
        self._engine = engine
        self._segment = segment
        self._sample = sample
        self._width = width

    def point(self, tuning: Tuning, k: int, effort: int) -> CurvePoint:
        size = tuning.size(k, effort, self._segment.shape.group_slots, self._width)
        options = CallOptions(
            size, size.width, size.width, tuning.rerank(k), 1 << 40, 0, self._sample.integral
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

    def curve(self, tuning: Tuning, k: int, rows: int) -> Curve:
        """Points up to a recall that nobody asks to exceed."""
        points: list[CurvePoint] = []
        for effort in _ladder(k, rows):
            points.append(self.point(tuning, k, effort))
            if points[-1].recall >= _ENOUGH_RECALL:
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


def calibrate_segment(
    engine: Engine,
    segment: LoadedSegment,
    sample: Sample,
    tunings: dict[int, Tuning],
    memory_bytes: int,
    width: int,
    done: Done,
) -> Calibration:
    """Choose how many codes to score for each unit of effort, then measure a curve for each k."""
    rows = segment.entry.rows
    code_bytes = segment.residence.code_bytes
    meter = _Meter(engine, segment, sample, width)
    steps = len(_SCAN_SLOTS) + len(CALIBRATED_KS)
    best, least = tunings[code_bytes], math.inf
    most = max(_cost_limit(rows), _SCAN_SLOTS[0])
    for number, scan_slots in enumerate(_SCAN_SLOTS):
        if scan_slots <= most:
            tuning = Tuning(scan_slots)
            cost = _cost_at(meter.curve(tuning, 10, rows), _TUNED_RECALL)
            if cost < least:
                best, least = tuning, cost
        done(number + 1, steps)
    curves = []
    for number, k in enumerate(CALIBRATED_KS):
        curves.append(meter.curve(best, k, rows))
        done(len(_SCAN_SLOTS) + number + 1, steps)
    chosen = {**tunings, code_bytes: best}
    return Calibration(len(sample.rows), memory_bytes, chosen, tuple(curves))


def _cost_limit(rows: int) -> float:
    """No effort needs more than all rows scored."""
    return rows / 10
