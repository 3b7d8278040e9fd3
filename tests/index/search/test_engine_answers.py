"""What an engine answers depends on the index and the query: not on the driver, workers or company."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pageann.errors import InvalidArgument
from pageann.index.kernels import state
from pageann.index.search.answers import Answers
from pageann.index.search.load import LoadedSegment
from tests.index.search.engines import KINDS, ROWS, Sample, assert_same, running


@pytest.fixture(params=KINDS)
def sample(request: pytest.FixtureRequest, sample_of: Callable[[str], Sample]) -> Sample:
    """Every kind of segment in turn."""
    return sample_of(request.param)


@pytest.fixture
def opened(sample: Sample) -> Iterator[LoadedSegment]:
    """The sample, open."""
    segment = sample.load()
    yield segment
    segment.close()


@pytest.fixture(scope="module")
def one_by_one(sample_of: Callable[[str], Sample]) -> Callable[[str], Answers]:
    """The answers of a kind when each query is searched alone, by the threads driver."""
    known: dict[str, Answers] = {}

    def get(name: str) -> Answers:
        if name not in known:
            sample = sample_of(name)
            segment = sample.load()
            with running(segment, "threads", workers=1, slots=1) as engine:
                known[name] = engine.run(sample.asked, sample.options())
            segment.close()
        return known[name]

    return get


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 7), (2, 3), (3, 64), (8, 2)])
def test_same_answers_and_counts_for_every_driver_and_division(
    sample: Sample,
    opened: LoadedSegment,
    one_by_one: Callable[[str], Answers],
    driver: str,
    workers: int,
    slots: int,
) -> None:
    with running(opened, driver, workers, slots) as engine:
        assert_same(engine.run(sample.asked, sample.options()), one_by_one(sample.name))


def test_distances_are_those_of_the_stored_vectors(
    sample: Sample, one_by_one: Callable[[str], Answers]
) -> None:
    answers = one_by_one(sample.name)
    assert (answers.counts == 10).all()
    true = np.take_along_axis(sample.distances, answers.rows, axis=1)
    np.testing.assert_allclose(answers.distances, true, rtol=1e-12, atol=1e-12)
    assert (np.diff(answers.distances, axis=1) >= 0).all()
    assert all(len(set(rows)) == 10 for rows in answers.rows.tolist())
    own = answers.slots < ROWS  # the others were read from pages of copies
    np.testing.assert_array_equal(sample.small.built.order[answers.slots[own]], answers.rows[own])
    assert own.all() == ("copy_pages" not in sample.kind.shape)


def test_a_search_of_everything_is_exact(sample: Sample, opened: LoadedSegment, driver: str) -> None:
    with running(opened, driver) as engine:
        answers = engine.run(sample.asked, sample.whole(k=25))
    expected = np.sort(sample.distances, axis=1)[:, :25]
    np.testing.assert_allclose(answers.distances, expected, rtol=1e-12, atol=1e-12)


def test_rows_left_out_do_not_come_back(sample: Sample, opened: LoadedSegment, driver: str) -> None:
    nearest = np.argmin(sample.distances, axis=1).astype(np.int64)
    excluded = np.where(np.arange(len(nearest)) % 2 == 0, nearest, -1)
    with running(opened, driver) as engine:
        answers = engine.run(sample.asked, sample.whole(), excluded)
    found = (answers.rows == nearest[:, None]).any(axis=1)
    left_out = excluded >= 0
    assert not found[left_out].any()
    assert found[~left_out].all()
    second = np.sort(sample.distances, axis=1)[:, 1]
    np.testing.assert_allclose(answers.distances[left_out, 0], second[left_out], rtol=1e-12, atol=1e-12)


def test_more_asked_for_than_there_is_is_padded(sample: Sample, opened: LoadedSegment, driver: str) -> None:
    with running(opened, driver) as engine:
        answers = engine.run(sample.asked[:2], sample.whole(k=ROWS + 5))
    assert (answers.counts == ROWS).all()
    assert (np.sort(answers.rows[:, :ROWS], axis=1) == np.arange(ROWS)).all()
    assert (answers.rows[:, ROWS:] == -1).all()
    assert np.isinf(answers.distances[:, ROWS:]).all()


def test_pinned_pages_save_reads_and_change_nothing_else(one_by_one: Callable[[str], Answers]) -> None:
    pinned, plain = one_by_one("pinned"), one_by_one("codes")
    np.testing.assert_array_equal(pinned.rows, plain.rows)
    saved = pinned.counters[:, state.N_PINNED]
    assert saved.sum() > 0
    np.testing.assert_array_equal(pinned.counters[:, state.N_READS] + saved, plain.counters[:, state.N_READS])


@pytest.mark.parametrize("reads", [1, 3, 5])
def test_reads_are_limited(sample: Sample, opened: LoadedSegment, driver: str, reads: int) -> None:
    with running(opened, driver) as engine:
        answers = engine.run(sample.asked, sample.options(max_reads=reads))
    assert (answers.counters[:, state.N_READS] <= reads).all()
    stopped = answers.counters[:, state.N_STOP] == state.STOP_MAX_READS
    assert stopped.any()
    if reads > 1:  # one read is not enough for a quantised page and a record
        assert (answers.counts > 0).all()


def test_a_passed_deadline_leaves_the_best_so_far(
    sample: Sample, opened: LoadedSegment, driver: str, one_by_one: Callable[[str], Answers]
) -> None:
    past = time.monotonic_ns() - 1
    with running(opened, driver) as engine:
        answers = engine.run(sample.asked, sample.options(deadline_ns=past))
        later = engine.run(sample.asked, sample.options(deadline_ns=time.monotonic_ns() + 10**12))
    with_reads = answers.counters[:, state.N_HOPS] > 0
    assert with_reads.any()  # the pages of others may all be pinned
    assert (answers.counters[with_reads, state.N_STOP] == state.STOP_DEADLINE).all()
    assert (answers.counters[:, state.N_HOPS] <= 2).all()
    assert (answers.counts > 0).all()
    assert_same(later, one_by_one(sample.name))


def test_no_queries_no_answers(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver) as engine:
        answers = engine.run(codes.asked[:0], codes.options())
    assert answers.rows.shape == (0, 10)


def test_arrays_that_kernels_cannot_take_are_converted(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    asked = codes.asked
    turned = np.asfortranarray(asked)
    frozen = asked.copy()
    frozen.flags.writeable = False
    with running(segment, driver) as engine:
        expected = engine.run(asked, codes.options())
        assert_same(engine.run(turned, codes.options()), expected)
        assert_same(engine.run(frozen, codes.options()), expected)
        assert_same(engine.run(codes.queries.astype(np.float64), codes.options()), expected)  # type: ignore[arg-type]


def test_queries_of_another_dimension_are_refused(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver) as engine:
        with pytest.raises(InvalidArgument, match=r"\(q, 16\)"):
            engine.run(codes.asked[:, :15], codes.options())
        with pytest.raises(InvalidArgument, match="excluded"):
            engine.run(codes.asked, codes.options(), np.zeros(3, np.int64))


@pytest.mark.parametrize(
    "changes", [{"first_width": 9}, {"next_width": 0}, {"k": 0}, {"cells": 0}, {"max_reads": -1}]
)
def test_settings_that_do_not_fit_the_memory_are_refused(codes: Sample, changes: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument):
        codes.options(**changes)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_recall_does_not_hang_on_the_width_of_rounds(
    codes: Sample, segment: LoadedSegment, width: int
) -> None:
    """What one wide round reads, narrow ones read as well: calibration measures wide ones."""
    with running(segment, "threads") as engine:
        wide = engine.run(codes.asked, codes.options(effort=12, width=32, first_width=32, next_width=32))
        narrow = engine.run(
            codes.asked, codes.options(effort=12, width=32, first_width=width, next_width=width)
        )
    first_round = wide.counters[:, state.N_HOPS] <= 1
    assert first_round.any()
    assert (narrow.counters[first_round, state.N_READS] >= wide.counters[first_round, state.N_READS]).all()
    assert (narrow.distances[first_round] <= wide.distances[first_round]).all()
