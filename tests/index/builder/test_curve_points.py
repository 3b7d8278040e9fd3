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
from pageann.index.search.effort import Curve
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
    efforts = [point.effort for point in curve.points]
    for point in curve.points:
        assert point.recall == pytest.approx(1 - 2 / (point.effort + 2), abs=0.01)
        if 0.86 < point.recall < 0.97:
            assert spent[point.effort] == 1000
        if point.recall < 0.84 or point.recall > 0.985:
            assert spent[point.effort] == 500
    assert all(later < 2 * sooner for sooner, later in pairwise(efforts))
    assert curve.points[-1].recall >= 0.995


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.sampled_from([0.3, 0.8, 0.95, 0.99, 1.0]))
def test_a_bracket_is_a_piece_of_the_curve(start: int, recall: float) -> None:
    """Wherever it is looked for, what lies around a recall is what the whole curve has there."""
    care = Care(200, 1.35)
    whole = meter_of(Searches(), sample_of(200), care).curve(Tuning(300.0), 10)
    found, _ = meter_of(Searches(), sample_of(200), care).bracket(Tuning(300.0), 10, recall, start)

    def around(curve: Curve) -> list[int]:
        reached = [point.effort for point in curve.points if point.recall >= recall][:1]
        return [point.effort for point in curve.points if point.recall < recall][-1:] + reached

    if any(point.recall >= recall for point in whole.points):
        assert around(found) == around(whole)
    else:
        assert all(point.recall < recall for point in found.points)
