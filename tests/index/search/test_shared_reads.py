"""Queries in flight that want the same page share one read of the device, and whatever becomes of it.

Reads are counted where they are made: at the ring, or at the driver. Answers, and what each query counts, are
those of a query that is alone.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex, StorageError
from pageann.index.kernels import state
from pageann.index.kernels.uring_search import search_over_ring, take_late_reads
from pageann.index.search.answers import UNANSWERED, Answers
from pageann.index.search.calls import Call
from pageann.index.search.desks import BatchDesk, RingDesk
from pageann.index.search.engine_faults import raise_fault
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.jobs import JointJob
from pageann.index.search.load import LoadedSegment
from pageann.index.search.outcome import stats_of
from pageann.index.search.part import Part
from pageann.index.search.workspace import Workspace
from pageann.index.segment_files import PAGES_FILE
from pageann.results import StopReason
from pageann.storage.io.contract import RETRIES_MAX
from pageann.storage.io.faults import Fault, FaultKind, FaultTable
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT, SQ_TAIL_COUNT
from pageann.storage.io.threads import ThreadsDriver
from tests.index.search.engines import KINDS, Sample, assert_same, running
from tests.index.search.test_engine_faults import damaged_copy

pytestmark = pytest.mark.usefixtures("uring")

ALIKE = 5
"""Queries that are the same."""
HANGS_US = 400_000
SOON_NS = 20_000_000
NO_ROW = np.full(1, -1, np.int64)


@dataclass(frozen=True)
class Worker:
    """The memory of a worker, and its ring."""

    segment: LoadedSegment
    workspace: Workspace
    ring: Ring

    def search(
        self,
        queries: NDArray[np.float32],
        options: CallOptions,
        deadlines: Sequence[int] | None = None,
        stop: int = 0,
        enough: int | None = None,
    ) -> tuple[int, Part]:
        """What the loop returned, and what it was asked, with the answers."""
        answers = Answers.unanswered(len(queries), options.size.k)
        if deadlines is not None:
            answers.counters[:, state.N_DEADLINE_NS] = deadlines
        options.write(self.workspace.work.call)
        part = Part.of(
            queries, options, np.full(len(queries), -1, np.int64), answers, np.arange(len(queries)),
            np.full(1, stop, np.int64),
        )  # fmt: skip
        if enough is not None:
            part.asked.flow[state.FLOW_ENOUGH] = enough
        return self.go_on(part), part

    def go_on(self, part: Part) -> int:
        return int(search_over_ring(self.segment.resident, self.workspace.work, self.ring.state, part.asked))

    @property
    def pushed(self) -> int:
        """Entries of the ring so far: reads, their continuations, and timers of those that are late."""
        return int(self.ring.state[SQ_TAIL_COUNT])

    @property
    def free(self) -> list[int]:
        """Rows that no query has."""
        free = self.workspace.work.free
        return sorted(free[: free[-1]].tolist())


@contextmanager
def worker(
    segment: LoadedSegment, options: CallOptions, slots: int, faults: Sequence[Fault] = (), entries: int = 0
) -> Iterator[Worker]:
    workspace = Workspace(segment.resident, slots, options.size)
    with Ring(entries or 2 * slots * options.size.width, FaultTable(faults)) as ring:
        yield Worker(segment, workspace, ring)
        assert take_late_reads(workspace.work, ring.state, True) == 0
        assert workspace.work.free[-1] == slots
        assert workspace.work.read_table[-1] == 0
    workspace.close()


def alone(segment: LoadedSegment, queries: NDArray[np.float32], options: CallOptions) -> Answers:
    """The answers of a worker that has one query in flight, which share nothing."""
    with running(segment, "uring", workers=1, slots=1) as engine:
        answers = engine.run(queries, options)
    assert (answers.counters[:, state.N_SHARED] == 0).all()
    return answers


def reads(answers: Answers) -> int:
    return int(answers.counters[:, state.N_READS].sum())


def shared(answers: Answers) -> int:
    return int(answers.counters[:, state.N_SHARED].sum())


@pytest.mark.parametrize("name", KINDS)
def test_queries_that_are_alike_make_the_reads_of_one(sample_of: Callable[[str], Sample], name: str) -> None:
    sample = sample_of(name)
    segment = sample.load()
    queries, options = np.repeat(sample.asked[:1], ALIKE, axis=0), sample.options()
    expected = alone(segment, queries, options)
    with worker(segment, options, ALIKE) as crowd:
        outcome, part = crowd.search(queries, options)
        assert outcome == 0
        assert_same(part.answers, expected)
        assert crowd.pushed == expected.counters[0, state.N_READS]
        assert shared(part.answers) == reads(part.answers) - crowd.pushed
    segment.close()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("slots", [2, 7, 24])
def test_queries_that_differ_share_what_they_have_in_common(
    sample_of: Callable[[str], Sample], name: str, slots: int
) -> None:
    sample = sample_of(name)
    segment = sample.load()
    options = sample.options(effort=150)
    expected = alone(segment, sample.asked, options)
    with worker(segment, options, slots) as crowd:
        outcome, part = crowd.search(sample.asked, options)
        assert outcome == 0
        assert_same(part.answers, expected)
        assert 0 < shared(part.answers) == reads(part.answers) - crowd.pushed
    segment.close()


class CountingDriver(ThreadsDriver):
    """Counts reads, and fails when told to."""

    made = 0
    fails = False

    def read_batch(self, fds: Any, *arrays: Any) -> None:
        self.made += len(fds)
        super().read_batch(fds, *arrays)
        if self.fails:
            raise MemoryError


def test_a_batch_has_each_page_once(codes: Sample, segment: LoadedSegment) -> None:
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.options()
    expected = alone(segment, queries, options)
    with CountingDriver(8) as driver:
        desk = BatchDesk(segment.resident, ALIKE, driver)
        mixed = codes.asked[[1, 0, 2, 0, 1]]
        calls = [Call(each, options, np.full(ALIKE, -1, np.int64), 1) for each in (queries, mixed, queries)]
        part = calls[0].part(0, ALIKE)
        desk.search(part)
        assert_same(part.answers, expected)
        assert driver.made == expected.counters[0, state.N_READS] == reads(expected) - shared(part.answers)
        driver.fails = True
        with pytest.raises(MemoryError):
            desk.search(calls[1].part(0, ALIKE))
        driver.fails = False
        part = calls[2].part(0, ALIKE)
        desk.search(part)  # by what was asked for before no page would come
        assert_same(part.answers, expected)
        desk.close()


def offset_of_read(
    segment: LoadedSegment, query: NDArray[np.float32], options: CallOptions, read: int
) -> int:
    """Where in the file of pages a query makes that read."""
    with worker(segment, options, 1, [Fault(FaultKind.ERROR, errno.EIO, skip=read)]) as one:
        _, part = one.search(query, options)
    assert part.answers.faulty
    return segment.layouts[PAGES_FILE].page_offset(int(part.answers.counters[0, state.N_FAULT_PAGE]))


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN])
@pytest.mark.parametrize("read", [0, 3, 9])
def test_an_error_of_the_read_is_one_of_every_query(
    codes: Sample, segment: LoadedSegment, number: int, read: int
) -> None:
    """EAGAIN too, where trying again as often as is allowed does not help."""
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.whole()
    expected = alone(segment, queries, options)
    offset = offset_of_read(segment, queries[:1], options, read)
    times = 1 if number == errno.EIO else 1 + RETRIES_MAX
    faults = [Fault(FaultKind.ERROR, number, offset=offset, times=times)]
    with worker(segment, options, ALIKE, faults) as crowd:
        outcome, part = crowd.search(queries, options)
        assert outcome == 0
        assert (part.answers.counters[:, state.N_FAULT] == state.FAULT_READ + number).all()
        for query in range(ALIKE):
            with pytest.raises(StorageError, match=f"page .* cannot be read: {errno.errorcode[number]}"):
                raise_fault(segment, part.answers.copy_of([query]))
        _, part = crowd.search(queries, options)
        assert_same(part.answers, expected)


@pytest.mark.parametrize("read", [0, 3, 9])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.SHORT, 512),
        Fault(FaultKind.ERROR, errno.EAGAIN, times=RETRIES_MAX),
        Fault(FaultKind.ERROR, errno.EINTR),
    ],
)
def test_a_read_that_is_continued_or_tried_again_is_handed_on_whole(
    codes: Sample, segment: LoadedSegment, read: int, fault: Fault
) -> None:
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.whole()
    expected = alone(segment, queries, options)
    offset = offset_of_read(segment, queries[:1], options, read)
    with worker(segment, options, ALIKE, [replace(fault, offset=offset)]) as crowd:
        outcome, part = crowd.search(queries, options)
        assert outcome == 0
        assert_same(part.answers, expected)
        assert shared(part.answers) == (ALIKE - 1) * expected.counters[0, state.N_READS]


def test_a_file_cut_short_is_missed_by_every_query(codes: Sample, tmp_path: Path) -> None:
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.whole()

    def cut(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(30 * 4096 + 512)

    with (
        damaged_copy(codes, tmp_path, PAGES_FILE, cut) as segment,
        worker(segment, options, ALIKE) as crowd,
    ):
        outcome, part = crowd.search(queries, options)
        assert outcome == 0
        assert (part.answers.counters[:, state.N_FAULT] == state.FAULT_READ).all()
        for query in range(ALIKE):
            with pytest.raises(DamagedIndex, match="is missing: the file is cut short"):
                raise_fault(segment, part.answers.copy_of([query]))


def test_who_waits_for_a_read_that_another_has_given_up_makes_it_anew(
    codes: Sample, segment: LoadedSegment
) -> None:
    """The first query is late, and with it the read that two others wait for without a deadline."""
    queries, options = np.repeat(codes.asked[:1], 3, axis=0), codes.options()
    expected = alone(segment, queries, options)
    with worker(segment, options, 3, [Fault(FaultKind.DELAY, HANGS_US)]) as crowd:
        outcome, part = crowd.search(queries, options, [time.monotonic_ns() + SOON_NS, 0, 0])
        assert outcome == 0
        assert part.asked.ended.tolist()[0] == 0
        assert part.answers.counters[0, state.N_STOP] == StopReason.DEADLINE
        assert crowd.ring.state[IN_FLIGHT_COUNT] > 0  # answered before the device was done
        assert len(crowd.free) == 2
        for query in (1, 2):
            assert_same(part.answers.copy_of([query]), expected.copy_of([query]))
        counts = part.answers.counters[:, state.N_SHARED]
        # The one that makes the read anew has the others, but those of the first round, by itself too.
        width = options.first_width
        assert sorted(counts[1:].tolist()) == [width - 1, reads(expected.copy_of([0]))]
        extra = 2  # the timer of the read that hangs, and the read made anew
        assert crowd.pushed == extra + expected.counters[0, state.N_READS]


def test_who_is_late_does_not_wait_for_the_read_of_another(codes: Sample, segment: LoadedSegment) -> None:
    """Its row is free at once, though the read that it shared hangs: the device owes it nothing."""
    options = codes.options()
    offset = offset_of_read(segment, codes.asked[:1], options, 0)
    queries = codes.asked[[0, 0, stranger(codes, segment, options, offset)]]
    expected = alone(segment, queries, options)
    with worker(segment, options, 2, [Fault(FaultKind.DELAY, HANGS_US, offset=offset)]) as crowd:
        outcome, part = crowd.search(queries, options, [0, time.monotonic_ns() + SOON_NS, 0])
        assert outcome == 0
        assert part.asked.ended.tolist() == [1, 2, 0]  # the third had the row of the second
        assert part.answers.counters[1, state.N_STOP] == StopReason.DEADLINE
        for query in (0, 2):
            assert_same(part.answers.copy_of([query]), expected.copy_of([query]))


def stranger(sample: Sample, segment: LoadedSegment, options: CallOptions, offset: int) -> int:
    """A query that does not read the page at ``offset``."""
    with worker(segment, options, 1, [Fault(FaultKind.ERROR, errno.EIO, offset=offset, times=-1)]) as one:
        _, part = one.search(sample.asked, options)
    return int(np.flatnonzero(part.answers.counters[:, state.N_FAULT] == 0)[0])


@pytest.mark.parametrize("first_row", [0, ALIKE - 1])
def test_a_read_that_hangs_is_not_made_again_for_queries_that_are_late_too(
    codes: Sample, segment: LoadedSegment, first_row: int
) -> None:
    """In whichever order their rows are looked at."""
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.options()
    late = time.monotonic_ns() + SOON_NS
    with worker(segment, options, ALIKE, [Fault(FaultKind.DELAY, HANGS_US)]) as crowd:
        rows = crowd.workspace.work.free[:ALIKE]  # taken from the end
        rows[:] = rows if first_row else rows[::-1].copy()
        outcome, part = crowd.search(queries, options, [late] * ALIKE)
        assert outcome == 0
        assert (part.answers.counters[:, state.N_STOP] == StopReason.DEADLINE).all()
        assert crowd.pushed == 1 + options.first_width  # and the timer
        assert crowd.ring.state[IN_FLIGHT_COUNT] > 0
        assert len(crowd.free) == ALIKE - 1
        np.testing.assert_array_equal(part.answers.rows, part.answers.rows[[0] * ALIKE])


@pytest.mark.parametrize("how", ["full", "stopped", "dropped"])
def test_reads_that_were_thrown_away_bring_nothing_to_later_queries(
    codes: Sample, segment: LoadedSegment, how: str
) -> None:
    """After a ring that was full, a stop, or queries that nobody takes up again."""
    queries, options = np.repeat(codes.asked[1:2], ALIKE, axis=0), codes.options(effort=150)
    mixed = codes.asked[[0, 1, 0, 1, 0, 2, 0]]
    expected = alone(segment, queries, options)
    with worker(segment, options, ALIKE) as crowd:
        if how == "full":
            with Ring(8) as small:
                outcome, part = replace(crowd, ring=small).search(mixed, options)
                assert outcome == -errno.ENOBUFS
                assert small.state[IN_FLIGHT_COUNT] == 0
        else:
            outcome, part = crowd.search(mixed, options, enough=0)  # leaves with its first reads in flight
            assert outcome == 0
            assert crowd.ring.state[IN_FLIGHT_COUNT] > 0
            if how == "stopped":
                part.asked.stop[0] = 1
                assert crowd.go_on(part) == 0
            else:
                assert take_late_reads(crowd.workspace.work, crowd.ring.state, True) == 0
            assert crowd.ring.state[IN_FLIGHT_COUNT] == 0
        assert (part.answers.counts == UNANSWERED).all()
        assert crowd.free == list(range(ALIKE))
        assert not crowd.workspace.work.read_table.any()
        before = crowd.pushed
        outcome, part = crowd.search(queries, options)
        assert outcome == 0
        assert_same(part.answers, expected)
        assert crowd.pushed - before == expected.counters[0, state.N_READS]


def test_queries_that_join_share_what_is_in_flight(codes: Sample, segment: LoadedSegment) -> None:
    """Calls come to a job that runs, and leave it, while reads go on."""
    options = codes.options()
    waiting = [Call(codes.asked[query : query + 1], options, NO_ROW, 1) for query in [0, 1, 0, 2, 1, 2] * 6]
    calls = list(waiting)
    job = JointJob(options, codes.asked.shape[1], rows=8)

    def turn_over(may_join: bool) -> bool:
        job.collect()
        while waiting and job.room:
            job.admit(waiting.pop())
        return job.goes_on

    turn_over(True)
    desk = RingDesk(segment.resident, 4)
    desk.search(job.part, turn_over)
    desk.close()
    expected = alone(segment, codes.asked[:3], options)
    for call in calls:
        assert call.answers is not None
        query = int(np.flatnonzero((codes.asked[:3] == call.queries).all(axis=1))[0])
        assert_same(call.answers, expected.copy_of([query]))
    assert sum(shared(call.answers) for call in calls if call.answers is not None) > 0


def test_stats_tell_of_shared_reads(codes: Sample, segment: LoadedSegment) -> None:
    queries, options = np.repeat(codes.asked[:1], ALIKE, axis=0), codes.options()
    with running(segment, "uring", workers=1, slots=ALIKE) as engine:
        answers = engine.run(queries, options)
    stats = stats_of(answers.counters, 40, ())
    assert stats.shared_reads.sum() == stats.reads.sum() - stats.reads[0]
    assert "shared reads" in repr(stats)
