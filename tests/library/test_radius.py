"""A range search gives all rows within a radius, in the flat form of faiss, and not one beyond it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pageann
from tests.library.brute import all_distances, measured
from tests.library.samples import METRICS, TWO_TIER, WALK, Kind, Sample, Samples


def require_range(found: pageann.RangeResult, sample: Sample, radius: float) -> None:
    """All rows within ``radius``, in order."""
    every = all_distances(sample.base, sample.queries, sample.kind.metric)
    assert found.lims[0] == 0
    assert len(found.lims) == len(sample.queries) + 1
    for number, distances in enumerate(every):
        rows = found.ids[found.lims[number] : found.lims[number + 1]]
        inside = np.flatnonzero(distances <= radius)
        order = np.lexsort((inside, distances[inside]))
        np.testing.assert_array_equal(rows, inside[order])
        stated = found.distances[found.lims[number] : found.lims[number + 1]]
        np.testing.assert_allclose(stated, distances[inside[order]], rtol=2e-7, atol=1e-15)
    assert found.distances.dtype == np.float32


def between(sample: Sample, rank: int) -> float:
    """A radius that no row lies on, with about ``rank`` rows inside for the middle query."""
    every = np.sort(all_distances(sample.base, sample.queries, sample.kind.metric).ravel())
    place = min(rank * len(sample.queries), len(every) - 2)
    return float((every[place] + every[place + 1]) / 2)


@pytest.mark.parametrize("rank", [1, 10, 63, 65, 400])
@pytest.mark.parametrize("metric", METRICS)
def test_all_rows_within(samples: Samples, metric: str, rank: int) -> None:
    sample = samples(Kind(metric=metric))
    radius = between(sample, rank)
    with sample.open("16MiB") as index:
        found = index.search(sample.queries, radius=radius, effort=len(sample.base))
    require_range(found, sample, radius)


@pytest.mark.parametrize("kind", [WALK, TWO_TIER], ids=["walk", "two-tier"])
@pytest.mark.parametrize("rank", [5, 100])
def test_other_layouts(samples: Samples, kind: Kind, rank: int) -> None:
    sample = samples(kind)
    sample = replace(sample, queries=sample.queries[:6])  # each of them reads every page
    radius = between(sample, rank)
    with sample.open("32MiB") as index:
        found = index.search(sample.queries, radius=radius, effort=len(sample.base))
    require_range(found, sample, radius)


def test_the_default_finds_most(samples: Samples) -> None:
    sample = samples(Kind())
    radius = between(sample, 20)
    inside = all_distances(sample.base, sample.queries, "l2") <= radius
    with sample.open("16MiB") as index:
        found = index.search(sample.queries, radius=radius)
    assert 0.9 * inside.sum() <= len(found.ids) <= inside.sum()


def test_everything_is_within(samples: Samples) -> None:
    sample = samples(Kind())
    with sample.open("16MiB") as index:
        found = index.search(sample.queries, radius=1e30)
    require_range(found, sample, 1e30)


def test_whole_numbers_on_the_radius_are_inside(samples: Samples) -> None:
    sample = samples(Kind(dtype="uint8"))
    every = np.sort(all_distances(sample.base, sample.queries, "l2"), axis=1)
    radius = float(every[0, 9])
    with sample.open("16MiB") as index:
        found = index.search(sample.queries, radius=radius, effort=len(sample.base))
    require_range(found, sample, radius)
    assert found.distances[found.lims[1] - 1] == radius


def test_nothing_is_within(samples: Samples) -> None:
    sample = samples(Kind())
    with sample.open() as index:
        found = index.search(sample.queries, radius=-1.0)
        none = index.search(np.empty((0, 24), np.float32), radius=1.0)
    assert found.lims.tolist() == [0] * (len(sample.queries) + 1)
    assert found.ids.shape == found.distances.shape == (0,)
    assert found.ids.dtype == np.int64
    assert none.lims.tolist() == [0]
    assert len(none) == 0


def test_a_radius_beyond_the_budget_says_so(samples: Samples) -> None:
    sample = samples(WALK)
    with sample.open() as index, pytest.raises(pageann.InvalidArgument, match=r"radius=1e\+30 .* memory"):
        index.search(sample.queries, radius=1e30)


def test_work_is_counted(samples: Samples) -> None:
    sample = samples(WALK)
    with sample.open() as index:
        before = index.stats()
        found = index.search(sample.queries, radius=between(sample, 5))
        after = index.stats()
    assert after["queries"] - before["queries"] == len(sample.queries)
    assert after["reads"] - before["reads"] == measured(found).reads.sum() > 0


@pytest.mark.parametrize("radius", [float("nan"), float("inf"), True, "far"])
def test_what_is_no_radius_is_refused(samples: Samples, radius: Any) -> None:
    sample = samples(Kind())
    with sample.open() as index, pytest.raises(pageann.InvalidArgument, match="radius="):
        index.search(sample.queries, radius=radius)


@pytest.mark.parametrize("most_reads", [1, 3])
def test_a_range_search_that_is_cut_short_says_so(samples: Samples, most_reads: int) -> None:
    sample = samples(WALK)
    radius = between(sample, 15)
    inside = (all_distances(sample.base, sample.queries, "l2") <= radius).sum(axis=1)
    with sample.open() as index:
        found = index.search(sample.queries, radius=radius, effort=16, max_page_reads=most_reads)
    assert (measured(found).reads <= most_reads).all()
    assert not found.complete.all()
    assert found.complete.shape == (len(sample.queries),)
    assert set(measured(found).stops()) <= {"converged", "exhausted", "max page reads"}
    assert (np.diff(found.lims) <= inside).all()


def test_a_range_search_that_takes_several_rounds_ends_for_one_reason(samples: Samples) -> None:
    sample = samples(Kind())
    with sample.open("16MiB") as index:
        found = index.search(sample.queries, radius=1e30)
    assert set(measured(found).stops()) <= {"converged", "exhausted"}
    assert found.complete.all()


@pytest.mark.parametrize("queries", [1, 30])
def test_more_results_than_allowed_are_refused(samples: Samples, queries: int) -> None:
    sample = samples(Kind())
    asked = sample.queries[:queries]
    effort = len(sample.base)
    with sample.open("16MiB") as index:
        whole = index.search(asked, radius=between(sample, 70), effort=effort)
        count = len(whole.ids)
        same = index.search(asked, radius=between(sample, 70), effort=effort, max_results=count)
        np.testing.assert_array_equal(same.ids, whole.ids)
        with pytest.raises(pageann.InvalidArgument, match="more than"):
            index.search(asked, radius=between(sample, 70), effort=effort, max_results=count - 1)
        for bad in (0, -1, 2.5, True):
            with pytest.raises(pageann.InvalidArgument, match="max_results"):
                index.search(asked, radius=1.0, max_results=bad)
        with pytest.raises(pageann.InvalidArgument, match="give a radius"):
            index.search(asked, 5, max_results=100)  # type: ignore[call-overload]


def test_no_more_is_searched_for_than_may_be_found(samples: Samples) -> None:
    sample = samples(Kind())
    asked: list[int] = []
    with sample.open("16MiB") as index:
        run = index._opened._engine.run

        def watched(queries: Any, options: Any) -> Any:
            asked.append(len(queries) * options.size.k)
            return run(queries, options)

        index._opened._engine.run = watched  # type: ignore[method-assign, assignment]
        with pytest.raises(pageann.InvalidArgument, match="more than 100 rows"):
            index.search(sample.queries[:2], radius=1e30, max_results=100)
    assert max(asked) <= 100 + 2
