"""Points of recall against effort, measured by running queries whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pageann.datasets.truth import recall_at_k
from pageann.index.builder.heldout import Sample
from pageann.index.kernels import state
from pageann.index.search.effort import Curve, CurvePoint
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment
from pageann.index.search.tuning import NO_LIMIT, Tuning

__all__ = ["SCAN_SLOTS", "Care", "Meter", "best_scan", "scan_choices"]

SCAN_SLOTS = (300.0, 450.0, 600.0, 900.0)
_MOST_EFFORT = 600
_MOST_EFFORT_OF_K = 10
"""Times k."""
_MOST_READS = 500.0
"""Of a query: points beyond cost more time than they are worth."""
_ENOUGH_RECALL = 0.995
_TUNED_RECALL = 0.97
"""At which the width of scans is chosen, above the usual 0.95.

Rows of an index are found more easily than what is asked for, and a scan that is too narrow costs more there
than one that is too wide costs below.

Read units of queries at 0.95, with 300 slots, which 0.95 chose with few rows, and with what 0.97 chooses:
photosift1m at 30 % 14.9 and 12.8, debian384 at 10 % 13.5 and 12.3, 768 made dimensions at 10 % 14.9 and 14.5,
for at most a tenth more processor time.
"""
_FIRST_LOOK = 6
"""Place of the ladder at which that recall is looked for first."""
_UNIT_COST_US = 15.0
"""Of processor and device together; an asynchronous read of 4 KiB takes about 4 us of the former."""
_CODE_COST_US = 0.0035
_RECALL_STEP = 0.02
"""From point to point of a curve, where the least growth of effort would bring less."""
_MISS_STEP = 0.5
"""The same in shares of what is still missed; the smaller of the two counts, this one from 0.96 on."""
_LONGEST_STEP = 2.5
"""In factors of the least growth."""
_INTERVAL = 1.96
_USUAL_RECALLS = (0.85, 0.993)
"""Between these a narrow interval saves most; beyond them recall varies less, or hardly anybody asks."""


@dataclass(frozen=True, slots=True)
class Care:
    """How closely a curve is measured."""

    rows: int
    """Of the sample."""
    growth: float
    """Of the effort, from point to point, at least."""
    look_rows: int = 0
    """Rows that are enough outside the recalls that are usually asked for; 0: no fewer."""
    look_growth: float = 0.0
    """Growth beyond those; 0: no other."""


class Meter:
    """Runs a sample through an engine."""

    def __init__(self, engine: Engine, segment: LoadedSegment, sample: Sample, care: Care) -> None:
        self._engine = engine
        self._segment = segment
        self._care = care
        self._samples = sample.part(care.rows).parts(care.look_rows)

    def point(self, tuning: Tuning, k: int, effort: int) -> CurvePoint:
        """Measured with all of the sample, or with a part of it where that is enough."""
        seen = [self._run(self._samples[0], tuning, k, effort)]
        for sample in self._samples[1:]:
            if _is_usual(float(seen[0][0].mean())):
                seen.append(self._run(sample, tuning, k, effort))
        recalls = np.concatenate([each for each, _ in seen])
        counters = np.concatenate([each for _, each in seen]).mean(axis=0)
        error = _INTERVAL * float(recalls.std()) / math.sqrt(len(recalls))
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

    def _run(
        self, sample: Sample, tuning: Tuning, k: int, effort: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """(recall, counters) of each query."""
        size = tuning.size(k, effort, self._segment.shape.group_slots, tuning.width)
        options = CallOptions(
            size,
            size.width,
            size.width,
            tuning.rerank(k),
            NO_LIMIT,
            0,
            sample.integral,
            tuning.walk_pages(effort),
        )
        answers = self._engine.run(sample.queries, options, sample.rows)
        recalls = recall_at_k(answers.distances, sample.distances, min(k, sample.distances.shape[1]))
        return recalls, answers.counters

    def curve(self, tuning: Tuning, k: int) -> Curve:
        """Points up to a recall that hardly anybody asks to exceed."""
        most = min(max(_MOST_EFFORT, _MOST_EFFORT_OF_K * k), self._segment.entry.rows)
        points = [self.point(tuning, k, _first_effort(k))]
        while points[-1].recall < _ENOUGH_RECALL and points[-1].reads < _MOST_READS:
            if points[-1].effort >= most:
                break
            effort = _next_effort(points[-1].effort, self._growth(points))
            points.append(self.point(tuning, k, min(effort, most)))
        return Curve(k, self._segment.residence.code_bytes, tuple(points))

    def _growth(self, points: list[CurvePoint]) -> float:
        """Of the effort to the next point: where the curve is flat, a longer step tells as much."""
        least = self._care.growth
        if len(points) > 1:
            before, last = points[-2:]
            slope = (last.recall - before.recall) / math.log(last.effort / before.effort)
            gain = min(_RECALL_STEP, _MISS_STEP * (1 - last.recall))
            steps = gain / max(slope, 1e-9) / math.log(least)
            least **= min(max(1.0, steps), _LONGEST_STEP)
        if points[-1].recall > _USUAL_RECALLS[1]:
            least = max(least, self._care.look_growth)
        return least

    def bracket(self, tuning: Tuning, k: int, recall: float, start: int) -> tuple[Curve, int]:
        """The points of the curve just below and above ``recall``, looked for from place ``start`` on.

        Returns (curve of one or two points, place of the upper one).
        """
        efforts = [_first_effort(k)]
        while efforts[-1] < min(_MOST_EFFORT, self._segment.entry.rows):
            efforts.append(_next_effort(efforts[-1], self._care.growth))
        found: dict[int, CurvePoint] = {}

        def reaches(place: int) -> bool:
            if place not in found:
                found[place] = self.point(tuning, k, efforts[place])
            return found[place].recall >= recall

        place = min(start, len(efforts) - 1)
        while not reaches(place) and place < len(efforts) - 1:
            place += 1
        while place > 0 and reaches(place - 1):
            place -= 1
        points = tuple(found[each] for each in (place - 1, place) if each in found)
        return Curve(k, self._segment.residence.code_bytes, points), place


def _is_usual(recall: float) -> bool:
    return _USUAL_RECALLS[0] <= recall <= _USUAL_RECALLS[1]


def _first_effort(k: int) -> int:
    return max(2, k // 4)


def _next_effort(effort: int, growth: float) -> int:
    return max(effort + 1, round(effort * growth))


def _cost(point: CurvePoint) -> float:
    """Microseconds of a query, by the cost table."""
    return point.units * _UNIT_COST_US + point.codes * _CODE_COST_US


def scan_choices(rows: int) -> list[float]:
    """Codes to score for each unit of effort that are worth trying: no effort needs more than all rows."""
    return [slots for slots in SCAN_SLOTS if slots <= max(rows / 10, SCAN_SLOTS[0])]


def best_scan(meter: Meter, tuning: Tuning, rows: int, done: Callable[[], None]) -> float:
    """How many codes to score for each unit of effort."""
    best, least, place = tuning.scan_slots, math.inf, _FIRST_LOOK
    worthwhile = scan_choices(rows)
    for scan_slots in SCAN_SLOTS:
        if scan_slots in worthwhile:
            candidate = replace(tuning, scan_slots=scan_slots)
            curve, place = meter.bracket(candidate, 10, _TUNED_RECALL, place)
            cost = curve.cost_at(_TUNED_RECALL, _cost)
            if cost is not None and cost < least:
                best, least = scan_slots, cost
        done()
    return best
