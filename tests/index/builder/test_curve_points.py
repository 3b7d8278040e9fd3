"""Points that are left out, or measured with fewer queries, must not move a curve off the truth."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.index.builder.curves import Care, Meter
from pageann.index.builder.heldout import Sample
from pageann.index.kernels import state
from pageann.index.search.tuning import Tuning

ROWS = 100_000


def sample_of(rows: int) -> Sample:
    """Queries that are their own numbers; every true distance is 1."""
    numbers = np.arange(rows)
    return Sample(numbers, numbers[:, None].astype(np.float32), False, np.ones((rows, 10)))


class Searches:
    """Answers queries with a recall that follows from the effort alone, to the tenth."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        """(effort, queries) of each call."""

    def run(self, queries: Any, options: Any, excluded: Any) -> Any:
        effort = options.size.effort
        self.asked.append((effort, len(queries)))
        recall = 1 - 2 / (effort + 2)
        found = (queries[:, :1] * 0.6180339887) % 1 + 10 * recall - 0.5  # rounds to the recall in the mean
        distances = np.where(np.arange(10) < np.rint(found), 1.0, 2.0)
        return SimpleNamespace(distances=distances, counters=np.full((len(queries), state.COUNTER_COUNT), 7))


def meter_of(searches: Searches, sample: Sample, care: Care) -> Meter:
    segment: Any = SimpleNamespace(
        entry=SimpleNamespace(rows=ROWS),
        shape=SimpleNamespace(group_slots=30),
        residence=SimpleNamespace(code_bytes=8),
    )
    engine: Any = searches
    return Meter(engine, segment, sample, care)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("part", [0, 3, 500])
def test_parts_have_every_query_once(rows: int, part: int) -> None:
    parts = sample_of(rows).parts(part)
    assert sorted(np.concatenate([each.rows for each in parts])) == list(range(rows))
    for each in parts:
        np.testing.assert_array_equal(each.queries[:, 0], each.rows)
        assert len(each.distances) == len(each.rows)


def test_usual_recalls_are_measured_with_all_queries() -> None:
    searches = Searches()
    curve = meter_of(searches, sample_of(1000), Care(1000, 1.35, 500, 1.8)).curve(Tuning(300.0), 10)
    spent: dict[int, int] = {}
    for effort, queries in searches.asked:
        spent[effort] = spent.get(effort, 0) + queries
    for point in curve.points:
        assert point.recall == pytest.approx(1 - 2 / (point.effort + 2), abs=0.01)
        if 0.86 < point.recall < 0.992:
            assert spent[point.effort] == 1000
        if point.recall < 0.84 or point.recall > 0.994:
            assert spent[point.effort] == 500
    for sooner, later in pairwise(curve.points):
        growth = later.effort / sooner.effort
        assert growth < 2.2
        is_least = later.effort == sooner.effort + 1
        assert is_least or growth < 1.5 or later.recall - sooner.recall < 0.03, (
            "long steps are for where little is gained"
        )
    assert len(curve.points) < 18, "1.35 a step would be 19"
    assert curve.points[-1].recall >= 0.995


@pytest.mark.parametrize(
    ("recall", "most"), [(0.9, 1.05), (0.95, 1.05), (0.97, 1.05), (0.98, 1.02), (0.99, 0.95)]
)
def test_efforts_of_usual_recalls_are_little_more_than_enough(recall: float, most: float) -> None:
    curve = meter_of(Searches(), sample_of(1000), Care(1000, 1.35, 500, 1.8)).curve(Tuning(300.0), 10)
    effort, reached = curve.effort_for(recall)
    assert reached
    enough = 2 / (1 - recall) - 2
    confident = 2 / (1 - recall - 2 * 0.05 / 1000**0.5) - 2  # recalls of queries lie within a tenth
    assert enough * 0.97 <= effort <= confident * most


@pytest.mark.parametrize(("k", "most"), [(10, 600), (100, 1000)])
def test_no_effort_is_beyond_what_anybody_needs(k: int, most: int) -> None:
    sample = sample_of(100)
    unreached = Sample(sample.rows, sample.queries, False, np.zeros((100, k)))
    curve = meter_of(Searches(), unreached, Care(100, 1.9)).curve(Tuning(300.0), k)
    assert curve.points[-1].effort == most


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.sampled_from([0.3, 0.8, 0.95, 0.99, 1.0]))
def test_a_bracket_is_a_piece_of_the_curve(start: int, recall: float) -> None:
    """Wherever it is looked for, what is found are the neighbours of a recall on the finest ladder."""
    meter = meter_of(Searches(), sample_of(200), Care(200, 1.35))
    efforts = [2]
    while efforts[-1] < 600:
        efforts.append(max(efforts[-1] + 1, round(1.35 * efforts[-1])))
    ladder = [meter.point(Tuning(300.0), 10, effort) for effort in efforts]
    found, _ = meter.bracket(Tuning(300.0), 10, recall, start)
    reached = [point.effort for point in ladder if point.recall >= recall][:1]
    if reached:
        below = [point.effort for point in ladder if point.recall < recall][-1:]
        assert [point.effort for point in found.points][-2:] == below + reached
    else:
        assert all(point.recall < recall for point in found.points)
