"""Long jobs read into registered memory: the kernel holds it, and must let go before others free it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import StorageError
from pageann.index.kernels import state
from pageann.index.search import desks
from pageann.index.search.calls import Call
from pageann.index.search.desks import RingDesk
from pageann.index.search.engine import Engine
from pageann.index.search.jobs import JointJob
from pageann.index.search.load import LoadedSegment
from pageann.index.search.part import Part
from pageann.index.search.workspace import WorkspaceFacts
from pageann.storage.io.faults import Fault, FaultKind
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT, MEMORY_END, RING_FD
from tests.index.search.engines import Sample, assert_same, running

pytestmark = pytest.mark.usefixtures("uring")

LONG = 4
"""Times all queries of a sample: 96."""
HANGS_US = 300_000
SOON_NS = 20_000_000


class WatchedRing(Ring):
    """Notes what is registered; each ring that is made is in ``made``."""

    made: list[WatchedRing]
    events: list[str]
    deaf = False
    """Whether the ring is in trouble as soon as it has been told of memory."""

    def register_files(self, fds: list[int]) -> bool:
        self.made.append(self)
        return super().register_files(fds)

    def register_memory(self, address: int, nbytes: int) -> bool:
        done = super().register_memory(address, nbytes)
        self.events.append("held" if done else "refused")
        if self.deaf:
            self.state[RING_FD] = -1
        return done

    def unregister_memory(self) -> None:
        super().unregister_memory()
        self.events.append("kept" if self.state[MEMORY_END] else "let go")


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> type[WatchedRing]:
    """Rings of desks are watched."""
    WatchedRing.made, WatchedRing.events = [], []
    monkeypatch.setattr(desks, "REGISTERS", True)
    monkeypatch.setattr(desks, "Ring", WatchedRing)
    return WatchedRing


def many(sample: Sample) -> NDArray[np.float32]:
    return np.tile(sample.asked, (LONG, 1))


def part_of(queries: NDArray[np.float32], sample: Sample, deadline_ns: int = 0) -> Part:
    count = len(queries)
    call = Call(queries, sample.options(deadline_ns=deadline_ns), np.full(count, -1, np.int64), 1)
    return call.part(0, count)


@pytest.mark.parametrize("name", ["codes", "two-steps", "walk", "direct"])
def test_long_jobs_register_and_short_ones_do_not(
    sample_of: Callable[[str], Sample], rings: type[WatchedRing], name: str
) -> None:
    sample = sample_of(name)
    segment = sample.load()
    with running(segment, "threads", workers=1) as engine:
        expected = engine.run(many(sample), sample.options())
    desk = RingDesk(segment.resident, 8)
    short = part_of(sample.asked, sample)
    desk.search(short)
    assert rings.events == []
    for _ in range(2):
        part = part_of(many(sample), sample)
        desk.search(part)
        assert_same(part.answers, expected)
        assert rings.made[0].state[MEMORY_END] == 0
    assert rings.events == ["held", "let go"] * 2
    desk.close()
    segment.close()


def test_a_job_that_turns_out_long_registers(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing]
) -> None:
    """With reads in flight."""
    waiting = [Call(query[None], codes.options(), np.full(1, -1, np.int64), 1) for query in many(codes)]
    calls = list(waiting)
    job = JointJob(codes.options(), codes.asked.shape[1], rows=16)

    def turn_over(may_join: bool) -> bool:
        job.collect()
        while waiting and job.room:
            job.admit(waiting.pop())
        return job.goes_on

    turn_over(True)
    desk = RingDesk(segment.resident, 8)
    desk.search(job.part, turn_over)
    desk.close()
    assert rings.events == ["held", "let go"]
    with running(segment, "threads", workers=1) as engine:
        expected = engine.run(many(codes), codes.options())
    for number, call in enumerate(calls):
        assert call.answers is not None
        assert_same(call.answers, expected.copy_of([number]))


def test_memory_is_held_until_late_reads_have_come(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing]
) -> None:
    desk = RingDesk(segment.resident, 8, [Fault(FaultKind.DELAY, HANGS_US)])
    desk.search(part_of(many(codes), codes, time.monotonic_ns() + SOON_NS))
    assert not desk.settle()
    assert rings.events == ["held"]
    part = part_of(many(codes), codes)
    desk.search(part)  # meanwhile the worker goes on
    assert (part.answers.counts == 10).all()
    desk.close()
    assert rings.events == ["held", "let go"]


def test_an_idle_worker_holds_nothing_when_another_needs_all_memory(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing]
) -> None:
    usual, large = codes.options(), codes.options(effort=300)
    scratch = 2 * WorkspaceFacts.of_parameters(segment.resident.parameters).bytes(1, usual.size)
    with running(segment, "threads", workers=2, slots=2) as engine:
        expected = engine.run(codes.asked[:3], large)
    engine = Engine(segment, "uring", workers=2, slots=2, scratch_bytes=scratch)
    for _ in range(3):
        engine.run(np.tile(many(codes), (8, 1)), usual)  # enough for a worker's share to be long
        assert all(ring.state[MEMORY_END] == 0 for ring in rings.made)
        assert_same(engine.run(codes.asked[:3], large), expected)
    engine.close()
    assert rings.events.count("held") == rings.events.count("let go") > 0


def test_a_kernel_that_refuses_is_asked_once(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ring, "_register", lambda *arguments: False)
    with running(segment, "threads", workers=1) as engine:
        expected = engine.run(many(codes), codes.options())
    desk = RingDesk(segment.resident, 8)
    for _ in range(3):
        part = part_of(many(codes), codes)
        desk.search(part)
        assert_same(part.answers, expected)
    desk.close()
    assert rings.events.count("refused") == 1


def test_errors_let_go_of_the_memory(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what hands out the answers, and of the ring, which is closed then."""

    def failing(may_join: bool) -> bool:
        raise MemoryError

    desk = RingDesk(segment.resident, 8)
    with pytest.raises(MemoryError):
        desk.search(part_of(many(codes), codes), failing)
    assert rings.events == ["held", "let go"]
    assert rings.made[0].state[IN_FLIGHT_COUNT] == rings.made[0].state[MEMORY_END] == 0
    with monkeypatch.context() as patched:
        patched.setattr(rings, "deaf", True)
        with pytest.raises(StorageError):
            desk.search(part_of(many(codes), codes))
    assert rings.made[0].closed
    part = part_of(many(codes), codes)
    desk.search(part)
    assert (part.answers.counts == 10).all()
    assert len(rings.made) == 2
    desk.close()


def test_it_can_be_turned_off(
    codes: Sample, segment: LoadedSegment, rings: type[WatchedRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "REGISTERS", False)
    desk = RingDesk(segment.resident, 8)
    part = part_of(many(codes), codes)
    desk.search(part)
    desk.close()
    assert (part.answers.counters[:, state.N_READS] > 0).all()
    assert rings.made == []
    assert rings.events == []
