"""A deadline or a limit on reads ends a query early with the best so far, and says so; it never raises."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.library.brute import measured, require_contract
from tests.library.samples import TWO_TIER, WALK, Kind, Sample, Samples

UNHURRIED_SECONDS = 600.0
DRIVERS = ("auto", "threads", "aio")


@pytest.fixture(params=[WALK, TWO_TIER], ids=["walk", "two-tier"])
def sample(request: pytest.FixtureRequest, samples: Samples) -> Sample:
    """An index whose pages are read from the disk."""
    kind: Kind = request.param
    return samples(kind)


def memory_of(sample: Sample) -> str:
    """A budget that pins few pages or none."""
    return "110KiB" if sample.kind == WALK else "300KiB"


@pytest.mark.parametrize("io", DRIVERS)
@pytest.mark.parametrize("deadline", [1e-9, 1e-4])
def test_a_deadline_that_has_passed(sample: Sample, deadline: float, io: str) -> None:
    queries = np.tile(sample.queries, (20, 1))
    with sample.open(memory_of(sample), io=io, threads=1) as index:
        found = index.search(queries, 10, deadline=deadline)
        again = index.search(sample.queries, 10)
    require_contract(found, sample.base, queries, "l2", 10)
    cut = measured(found).stopped == 2
    np.testing.assert_array_equal(found.complete, ~cut)
    assert cut.any()
    assert measured(found).stops()["deadline"] == cut.sum()
    assert "cut short" in repr(found)
    assert again.complete.all(), "the next call is not hurried"


@pytest.mark.parametrize("io", DRIVERS)
def test_a_generous_deadline_changes_nothing(sample: Sample, io: str) -> None:
    with sample.open(memory_of(sample), io=io) as index:
        found = index.search(sample.queries, 10, deadline=UNHURRIED_SECONDS)
        usual = index.search(sample.queries, 10)
    assert found.complete.all()
    np.testing.assert_array_equal(found.ids, usual.ids)
    assert set(measured(found).stops()) <= {"converged", "exhausted"}


@pytest.mark.parametrize("io", DRIVERS)
@pytest.mark.parametrize("most_reads", [1, 2, 5])
def test_reads_are_limited(sample: Sample, io: str, most_reads: int) -> None:
    with sample.open(memory_of(sample), io=io) as index:
        usual = index.search(sample.queries, 10)
        found = index.search(sample.queries, 10, max_page_reads=most_reads)
    require_contract(found, sample.base, sample.queries, "l2", 10)
    assert (measured(found).reads <= most_reads).all()
    assert not found.complete[measured(usual).reads > most_reads].any()
    np.testing.assert_array_equal(found.complete, measured(found).stopped != 1)


def test_a_limit_beyond_need_changes_nothing(sample: Sample) -> None:
    with sample.open(memory_of(sample)) as index:
        found = index.search(sample.queries, 10, max_page_reads=10_000)
        usual = index.search(sample.queries, 10)
    assert found.complete.all()
    np.testing.assert_array_equal(found.ids, usual.ids)
    np.testing.assert_array_equal(measured(found).reads, measured(usual).reads)


def test_coroutines_have_limits_too(sample: Sample) -> None:
    with sample.open(memory_of(sample)) as index:
        late = asyncio.run(index.asearch(sample.queries, 10, deadline=1e-9))
        few = asyncio.run(index.asearch(sample.queries, 10, max_page_reads=1))
    assert not late.complete.any()
    assert not few.complete.all()
    require_contract(late, sample.base, sample.queries, "l2", 10)
    require_contract(few, sample.base, sample.queries, "l2", 10)


@pytest.mark.parametrize("io", DRIVERS)
def test_a_query_that_is_late_reads_no_more_than_an_answer_takes(sample: Sample, io: str) -> None:
    with sample.open(memory_of(sample), io=io) as index:
        found = index.search(sample.queries, 10, deadline=1e-9)
    rounds = 1 if sample.kind == WALK else 2
    assert (measured(found).hops <= rounds).all()
    assert (found.counts > 0).all(), "the best so far is something"


def test_exact_search_reads_everything_whatever_the_limits(sample: Sample) -> None:
    with sample.open() as index:
        found = index.search(sample.queries, 10, exact=True)
    assert found.complete.all()
    assert set(measured(found).stops()) == {"exhausted"}
    assert measured(found).reads.sum() > 0
