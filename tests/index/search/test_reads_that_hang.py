"""A read that hangs holds up its own query, and that no longer than its deadline allows."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import numpy as np
import pytest

from pageann.errors import StorageError
from pageann.index.kernels import state
from pageann.index.search.calls import Call
from pageann.index.search.desks import RingDesk
from pageann.index.search.engine import Engine
from pageann.index.search.jobs import JointJob
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import WorkspaceFacts
from pageann.results import StopReason
from pageann.storage.io.faults import Fault, FaultKind
from tests.index.search.engines import KINDS, Sample, assert_same, running

pytestmark = pytest.mark.usefixtures("uring")

HANGS_US = 2_000_000
SOON_NS = 20_000_000
NO_ROW = np.full(1, -1, np.int64)


@pytest.mark.parametrize("name", KINDS)
def test_a_query_ends_with_what_has_arrived(sample_of: Callable[[str], Sample], name: str) -> None:
    """And the call after it is answered as ever, once the device is done."""
    sample = sample_of(name)
    segment = sample.load()
    asked, options = sample.asked[:1], sample.options()
    with running(segment, "uring", workers=1) as engine:
        expected = engine.run(asked, options)
    with running(segment, "uring", workers=1, faults=[Fault(FaultKind.DELAY, HANGS_US)]) as engine:
        found = engine.run(asked, sample.options(deadline_ns=time.monotonic_ns() + SOON_NS))
        again = engine.run(asked, options)
    segment.close()
    assert_same(again, expected)
    counters = found.counters[0]
    assert counters[state.N_STOP] == StopReason.DEADLINE
    assert counters[state.N_PENDING] < HANGS_US * 1000
    count = int(found.counts[0])
    assert (count > 0) == (name != "two-steps")  # whose exact records had not been asked for
    exact = sample.distances[0, found.rows[0, :count]]
    np.testing.assert_allclose(found.distances[0, :count], exact, rtol=1e-5)


def test_nothing_has_arrived(codes: Sample, segment: LoadedSegment) -> None:
    faults = [Fault(FaultKind.DELAY, HANGS_US, times=8)]  # a round
    with running(segment, "uring", workers=1, faults=faults) as engine:
        found = engine.run(codes.asked[:1], codes.options(deadline_ns=time.monotonic_ns() + SOON_NS))
    assert found.counters[0, state.N_STOP] == StopReason.DEADLINE
    assert found.counts[0] == 0
    assert (found.rows == -1).all()


def test_a_query_without_a_deadline_waits(codes: Sample, segment: LoadedSegment) -> None:
    with running(segment, "uring", workers=1) as engine:
        expected = engine.run(codes.asked, codes.options())
    faults = [Fault(FaultKind.DELAY, HANGS_US // 4)]
    with running(segment, "uring", workers=1, faults=faults) as engine:
        assert_same(engine.run(codes.asked, codes.options()), expected)


def test_others_of_a_job_are_answered_and_more_join(codes: Sample, segment: LoadedSegment) -> None:
    calls = [Call(codes.asked[query : query + 1], codes.options(), NO_ROW, 1) for query in range(4)]
    job = JointJob(calls[0].key, codes.asked.shape[1], rows=3)
    for call in calls[:2]:
        job.admit(call)
    answered: list[Call] = []

    def turn_over(may_join: bool) -> bool:
        answered.extend(job.collect())
        for call in calls[2:]:
            if may_join and call not in joined and job.room:
                joined.append(call)
                job.admit(call)
        return job.goes_on

    joined: list[Call] = []
    desk = RingDesk(segment.resident, 3, [Fault(FaultKind.DELAY, HANGS_US // 4)])
    desk.search(job.part, turn_over)
    desk.close()
    assert answered[-1] is calls[0]  # its first read hung
    assert set(answered[:-1]) == set(calls[1:])
    with running(segment, "uring", workers=1) as engine:
        for call in calls:
            assert call.answers is not None
            assert_same(call.answers, engine.run(call.queries, call.options))


def test_rows_are_free_again_when_the_device_is_done(codes: Sample, segment: LoadedSegment) -> None:
    """More queries than rows, all of whose first reads hang: what has no row waits for one."""
    faults = [Fault(FaultKind.DELAY, HANGS_US // 4, times=-1)]
    asked = codes.asked[:6]
    with running(segment, "uring", workers=1, slots=2, faults=faults) as engine:
        found = engine.run(asked, codes.options(deadline_ns=time.monotonic_ns() + SOON_NS))
    assert (found.counters[:, state.N_STOP] == StopReason.DEADLINE).all()
    assert (found.counts == 0).all()


def test_a_worker_goes_on_while_a_read_hangs(codes: Sample, segment: LoadedSegment) -> None:
    with running(segment, "uring", workers=1) as engine:
        expected = engine.run(codes.asked, codes.options())
    faults = [Fault(FaultKind.DELAY, HANGS_US)]
    begin = time.monotonic_ns()
    with running(segment, "uring", workers=1, slots=3, faults=faults) as engine:
        engine.run(codes.asked[:1], codes.options(deadline_ns=time.monotonic_ns() + SOON_NS))
        found = engine.run(codes.asked, codes.options())
        answered = time.monotonic_ns()
        other = engine.run(codes.asked[:1], codes.options(k=3))  # in memory of another size, which must wait
        waited = time.monotonic_ns()
    assert_same(found, expected)
    assert answered - begin < HANGS_US * 1000 < waited - begin
    np.testing.assert_array_equal(other.rows, expected.rows[:1, :3])


def test_a_call_that_needs_all_memory_waits_for_the_device(codes: Sample, segment: LoadedSegment) -> None:
    """An idle worker gives its memory back once no read is in flight into it."""
    usual, large = codes.options(), codes.options(effort=300)
    scratch = 2 * WorkspaceFacts.of_parameters(segment.resident.parameters).bytes(1, usual.size)
    faults = [Fault(FaultKind.DELAY, HANGS_US // 4)]
    with running(segment, "uring", workers=2, slots=2) as engine:
        expected = engine.run(codes.asked[:3], large)
    engine = Engine(segment, "uring", workers=2, slots=2, scratch_bytes=scratch, faults=faults)
    engine.run(codes.asked[:1], codes.options(deadline_ns=time.monotonic_ns() + SOON_NS))
    assert_same(engine.run(codes.asked[:3], large), expected)
    engine.close()


def test_a_read_that_fails_is_no_late_one(codes: Sample, segment: LoadedSegment) -> None:
    faults = [Fault(FaultKind.DELAY, HANGS_US // 4), Fault(FaultKind.ERROR, errno.EIO)]
    hurried = codes.options(deadline_ns=time.monotonic_ns() + SOON_NS)
    with (
        running(segment, "uring", workers=1, faults=faults) as engine,
        pytest.raises(StorageError, match="EIO"),
    ):
        engine.run(codes.asked[:1], hurried)


def test_an_error_while_answers_are_handed_out(codes: Sample, segment: LoadedSegment) -> None:
    """Queries that are in flight then are dropped, and the desk is as good as new."""
    with running(segment, "uring", workers=1) as engine:
        expected = engine.run(codes.asked[:4], codes.options())

    def job() -> JointJob:
        joint = JointJob(codes.options(), codes.asked.shape[1], rows=8)
        for query in range(4):
            joint.admit(Call(codes.asked[query : query + 1], codes.options(), NO_ROW, 1))
        return joint

    def failing(may_join: bool) -> bool:
        raise MemoryError

    def collecting(may_join: bool) -> bool:
        again.collect()
        return again.goes_on

    desk = RingDesk(segment.resident, 4, [Fault(FaultKind.DELAY, HANGS_US // 4)])
    with pytest.raises(MemoryError):
        desk.search(job().part, failing)
    assert desk.settle()
    again = job()
    calls = list(again._rows)
    desk.search(again.part, collecting)
    desk.close()
    for query, call in enumerate(calls):
        assert call.answers is not None
        np.testing.assert_array_equal(call.answers.rows[0], expected.rows[query])
