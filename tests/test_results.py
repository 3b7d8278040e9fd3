"""Results are values that explain themselves.

Guarded: a result that can be changed after the fact, a repr of a million numbers, figures that are not JSON.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pageann.results import (
    BuildReport,
    Ledger,
    LedgerItem,
    QueryStats,
    RangeResult,
    SearchResult,
    StopReason,
)

LEDGER = Ledger((LedgerItem("codes", 3 << 20, "28 B a vector"), LedgerItem("router", 1000)), 4 << 20)


def stats(queries: int, reads: float = 2, warnings: tuple[str, ...] = ()) -> QueryStats:
    names = [each.name for each in dataclasses.fields(QueryStats) if each.name not in ("stopped", "warnings")]
    columns = {name: np.full(queries, reads) for name in names}
    return QueryStats(**columns, stopped=np.full(queries, StopReason.DEADLINE), warnings=warnings)


def search_result(queries: int = 3, k: int = 10) -> SearchResult:
    ids = np.arange(queries * k).reshape(queries, k)
    distances = np.ones((queries, k), np.float32)
    counts = np.full(queries, k, np.int32)
    return SearchResult(ids, distances, counts, stats(queries), np.arange(queries) > 0)


def test_search_result_unpacks_as_ids_and_distances() -> None:
    result = search_result()
    ids, distances = result
    assert ids is result.ids
    assert distances is result.distances
    assert len(result) == 3


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        search_result().ids = np.zeros(1)  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        LEDGER.budget_bytes = 1  # type: ignore[misc]


class Working:
    """Works statistics out, and counts how often."""

    def __init__(self) -> None:
        self.known = stats(3, warnings=("slow",))
        self.times = 0

    def __call__(self) -> QueryStats:
        self.times += 1
        return self.known


def test_postponed_stats_are_worked_out_once_a_figure_is_looked_at() -> None:
    working = Working()
    later = QueryStats.postponed(working, ("slow",))
    assert later.warnings == ("slow",)
    assert not hasattr(later, "no_figure")
    assert working.times == 0
    assert later.units is working.known.units
    for each in dataclasses.fields(QueryStats):
        assert getattr(later, each.name) is getattr(working.known, each.name)
    assert later.means() == working.known.means()
    assert working.times == 1


def test_threads_see_the_same_figures_of_postponed_stats() -> None:
    together = threading.Barrier(8)

    def work_out() -> QueryStats:
        together.wait(10)  # all of them are at it
        return stats(3)

    later = QueryStats.postponed(work_out, ())
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: later.reads, range(8)))
    assert {id(each) for each in seen} == {id(later.reads)}


def test_postponed_stats_are_frozen() -> None:
    working = Working()
    with pytest.raises(dataclasses.FrozenInstanceError):
        QueryStats.postponed(working, ()).reads = np.zeros(3)  # type: ignore[misc]
    assert working.times == 0


@pytest.mark.parametrize("copied", [copy.copy, lambda each: pickle.loads(pickle.dumps(each))])
def test_postponed_stats_can_be_copied_before_they_are_looked_at(copied: Any) -> None:
    working = Working()
    found = copied(QueryStats.postponed(working, ("slow",)))
    assert found.to_dict() == working.known.to_dict()


def test_a_figure_of_postponed_stats_can_be_replaced_before_they_are_looked_at() -> None:
    working = Working()
    found = dataclasses.replace(QueryStats.postponed(working, ("slow",)), kib=np.ones(3))
    assert found.to_dict() == {**working.known.to_dict(), "kib": [1.0, 1.0, 1.0]}


def test_repr_is_short_however_large_the_result() -> None:
    lines = repr(search_result(queries=10_000, k=1000)).splitlines()
    assert len(lines) < 15
    assert max(map(len, lines)) < 120
    assert lines[0] == "SearchResult: 10000 queries, k=1000, 1 cut short"


def test_repr_shows_no_padding() -> None:
    result = dataclasses.replace(
        search_result(1, 4),
        ids=np.array([[7, 8, -1, -1]]),
        distances=np.array([[0.5, 1.5, math.inf, math.inf]], np.float32),
        counts=np.array([2], np.int32),
    )
    assert "[0] 7:0.5  8:1.5\n" in repr(result)


def test_range_result_is_complete_unless_said_otherwise() -> None:
    lims = np.array([0, 2, 2, 3])
    result = RangeResult(lims, np.arange(3), np.ones(3, np.float32), None)
    assert result.complete.tolist() == [True, True, True]
    assert len(result) == 3
    cut = RangeResult(lims, np.arange(3), np.ones(3, np.float32), None, np.array([True, False, True]))
    assert "1 cut short" in repr(cut)


def test_stats_of_several_calls_are_one() -> None:
    joined = QueryStats.concatenate([stats(2, 1, ("low recall",)), stats(6, 5, ("low recall",))])
    assert len(joined) == 8
    assert joined.means()["reads"] == 4
    assert joined.stops() == {"deadline": 8}
    assert joined.warnings == ("low recall",)


def test_stats_of_no_queries() -> None:
    assert stats(0).means()["reads"] == 0
    assert stats(0).stops() == {}
    assert "0 queries" in repr(stats(0))


def test_ledger_adds_up_and_is_a_table() -> None:
    assert LEDGER.total == (3 << 20) + 1000
    assert str(LEDGER).splitlines() == [
        "codes   3.0 MiB  28 B a vector",
        "router   1000 B",
        "total   3.0 MiB  75.0%",
        "budget  4.0 MiB",
    ]


def test_everything_is_json() -> None:
    report = BuildReport(
        1000, 128, "uint8", "l2", 34, 4096, 30, 143_360, 1.5, (("packing", 0.5),), 1 << 28, LEDGER, {"x": 0.5}
    )
    for figures in (report.to_dict(), LEDGER.to_dict(), stats(3).to_dict()):
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert report.to_dict()["ledger"]["total_bytes"] == LEDGER.total
    assert stats(2).to_dict()["stopped"] == ["deadline", "deadline"]


def test_build_report_reads_like_one() -> None:
    report = BuildReport(
        1000, 128, "uint8", "l2", 34, 4096, 30, 143_360, 1.5, (("packing", 0.5),), 1 << 28, LEDGER
    )
    for words in (
        "1,000 x 128 uint8, l2",
        "34 x 4.0 KiB, 30 vectors each",
        "140.0 KiB",
        "packing",
        "28 B a vector",
    ):
        assert words in repr(report)
