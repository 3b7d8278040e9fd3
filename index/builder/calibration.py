"""Measure a freshly written segment: recall against effort on held-out rows, and the widths that pay.

Queries are rows of the index, each left out of its own answer. Widths are chosen by counted work
times a cost table, never by a clock, so that the same build gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.index.kernels import state
from pageann.index.search.effort import Calibration, Curve, CurvePoint
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment
from pageann.index.search.planner import OpenPlan
from pageann.index.search.tuning import NO_LIMIT, Tuning
from pageann.index.search.workspace import WorkspaceFacts
from pageann.index.segment_files import Shape
from pageann.types import Metric

__all__ = ["CALIBRATED_KS", "calibrate_segment", "default_tunings", "draw_sample"]

CALIBRATED_KS = (1, 10, 100)
_SAMPLE_ROWS = 400
_SCAN_SLOTS = (150.0, 300.0, 600.0, 1200.0)
_FETCH_WIDTH = 32
_WALK_WIDTH = 4
_WALK_SCAN_SLOTS = 60.0
_WALK_CELLS = 96
_WALK_PAGES_SHARE = 2.0
"""Estimates made while walking are too hopeful to end a walk; a count of pages does better."""
_EFFORT_GROWTH = 1.35
_MOST_EFFORT = 600
_ENOUGH_RECALL = 0.995
_TUNING_ROWS = 150
"""Of the sample, to choose widths with."""
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
    tunings = {code_bytes: Tuning(scan_slots=300.0, width=width) for code_bytes in shape.code_bytes}
    walk = Tuning(_WALK_SCAN_SLOTS, width=_WALK_WIDTH, most_cells=_WALK_CELLS, pages_share=_WALK_PAGES_SHARE)
    return {**tunings, 0: walk}


def _ladder(k: int, rows: int) -> list[int]:
    efforts = [max(2, k // 2)]
    while efforts[-1] < min(_MOST_EFFORT, rows):
        efforts.append(max(efforts[-1] + 1, round(efforts[-1] * _EFFORT_GROWTH)))
    return efforts


class _Meter:
    """Runs the sample through an engine."""

    def __init__(self, engine: Engine, segment: LoadedSegment, sample: Sample, plan: OpenPlan) -> None:
        self._engine = engine
        self._segment = segment
        self._sample = sample
        self._width = plan.width
        self._facts = WorkspaceFacts.of_parameters(segment.resident.parameters)
        self._share_bytes = plan.scratch_bytes // plan.workers

    def fits(self, tuning: Tuning, k: int, effort: int) -> bool:
        """Whether the planned memory holds a query of that effort."""
        size = tuning.size(k, effort, self._segment.shape.group_slots, 1)
        return self._facts.bytes(1, size) <= self._share_bytes

    def point(self, tuning: Tuning, k: int, effort: int) -> CurvePoint:
        size = tuning.size(k, effort, self._segment.shape.group_slots, self._width)
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

    def curve(self, tuning: Tuning, k: int, rows: int, enough: float = _ENOUGH_RECALL) -> Curve:
        """Points up to a recall of ``enough``, by default one that hardly anybody asks to exceed."""
        points: list[CurvePoint] = []
        for effort in _ladder(k, rows):
            if not self.fits(tuning, k, effort):
                break
            points.append(self.point(tuning, k, effort))
            if points[-1].recall >= enough:
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
    plan: OpenPlan,
    done: Done,
) -> Calibration:
    """Choose how many codes to score for each unit of effort, then measure a curve for each k."""
    rows = segment.entry.rows
    code_bytes = segment.residence.code_bytes
    meter = _Meter(engine, segment, sample, plan)
    chooser = _Meter(engine, segment, sample.part(_TUNING_ROWS), plan)
    steps = len(_SCAN_SLOTS) + len(CALIBRATED_KS)
    best, least = tunings[code_bytes], math.inf
    most = max(rows / 10, _SCAN_SLOTS[0])  # no effort needs more than all rows scored
    for number, scan_slots in enumerate(_SCAN_SLOTS):
        if code_bytes > 0 and scan_slots <= most:
            tuning = replace(tunings[code_bytes], scan_slots=scan_slots)
            cost = _cost_at(chooser.curve(tuning, 10, rows, _TUNED_RECALL), _TUNED_RECALL)
            if cost < least:
                best, least = tuning, cost
        done(number + 1, steps)
    curves = []
    for number, k in enumerate(CALIBRATED_KS):
        curve = meter.curve(best, k, rows)
        curves += [curve] if curve.points else []
        done(len(_SCAN_SLOTS) + number + 1, steps)
    chosen = {**tunings, code_bytes: best}
    return Calibration(len(sample.rows), memory_bytes, chosen, tuple(curves))
