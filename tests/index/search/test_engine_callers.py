"""Any number of threads may call at once: answers are their own, memory is that of the slots.

A service has as many threads as clients; with a workspace a caller it would outgrow any budget.
"""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

from pageann.index.kernels import state
from pageann.index.search import desks
from pageann.index.search.answers import Answers
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace, WorkspaceFacts
from pageann.storage.io.faults import Fault, FaultKind
from tests.index.search.engines import Sample, assert_same, in_threads, running


def single(answers: Answers, number: int) -> Answers:
    """The answer of one query of many."""
    part = slice(number, number + 1)
    return Answers(
        answers.rows[part], answers.distances[part], answers.slots[part], answers.counts[part],
        answers.counters[part],
    )  # fmt: skip


def test_many_threads_get_the_answers_of_their_own_queries(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    asked = codes.asked
    kinds = [codes.options(), codes.options(k=3), codes.options(effort=15)]
    with running(segment, driver, workers=2, slots=4) as engine:
        expected = [engine.run(asked, options) for options in kinds]

        def client(number: int) -> None:
            for turn in range(30):
                query, kind = (number * 7 + turn) % len(asked), (number + turn) % 3
                answers = engine.run(asked[query : query + 1], kinds[kind])
                assert_same(answers, single(expected[kind], query))

        in_threads(12, client)


def test_large_and_small_calls_together(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    many = np.concatenate([codes.asked] * 40)
    with running(segment, driver, workers=2, slots=4) as engine:
        whole = engine.run(many, codes.options())

        def client(number: int) -> None:
            if number == 0:
                assert_same(engine.run(many, codes.options()), whole)
                return
            for turn in range(20):
                first = (number * 5 + turn) % len(codes.asked)
                answers = engine.run(codes.asked[first : first + 3], codes.options())
                count = len(answers.counts)
                np.testing.assert_array_equal(answers.rows, whole.rows[first : first + count])

        in_threads(6, client)


def test_a_deadline_is_the_call_s_own(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    late, early = codes.options(), codes.options(deadline_ns=time.monotonic_ns() - 1)
    with running(segment, driver, workers=1, slots=4) as engine:
        expected = [engine.run(codes.asked, options) for options in (late, early)]

        def client(number: int) -> None:
            for query in range(len(codes.asked)):
                options = (late, early)[number % 2]
                answers = engine.run(codes.asked[query : query + 1], options)
                assert_same(answers, single(expected[number % 2], query))

        in_threads(6, client)
    assert (expected[1].counters[:, state.N_STOP] == state.STOP_DEADLINE).all()


class Watch:
    """All workspaces that are open at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open: set[Workspace] = set()
        self.made = self.most_slots = self.most_bytes = 0
        lock = threading.Lock()
        watch = self

        class Watched(Workspace):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments)  # type: ignore[arg-type]
                with lock:
                    watch.open.add(self)
                    watch.made += 1
                    watch.most_slots = max(watch.most_slots, sum(one.slots for one in watch.open))
                    watch.most_bytes = max(watch.most_bytes, sum(one.bytes for one in watch.open))

            def close(self) -> None:
                with lock:
                    watch.open.discard(self)
                super().close()

        monkeypatch.setattr(desks, "Workspace", Watched)


def varied(codes: Sample) -> list[CallOptions]:
    """Settings that need memory of nine sizes."""
    return [codes.options(k=k, effort=effort) for k in (1, 5, 9) for effort in (10, 40, 200)]


def test_memory_is_that_of_the_slots(
    codes: Sample, segment: LoadedSegment, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, options = Watch(monkeypatch), varied(codes)
    with running(segment, driver, workers=2, slots=5) as engine:

        def client(number: int) -> None:
            for turn in range(20):
                engine.run(codes.asked[:7], options[(number + turn) % len(options)])

        in_threads(8, client)
        assert 0 < watch.most_slots <= 5
    assert not watch.open


def test_memory_is_kept_for_calls_of_the_same_size(
    codes: Sample, segment: LoadedSegment, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    with running(segment, driver, workers=2, slots=5) as engine:
        for _ in range(40):
            engine.run(codes.asked[:1], codes.options())
        assert watch.made <= 5


def test_memory_stays_within_the_scratch(
    codes: Sample, segment: LoadedSegment, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, options = Watch(monkeypatch), varied(codes)
    facts = WorkspaceFacts.of_parameters(segment.resident.parameters)
    scratch_bytes = 6 * facts.bytes(1, options[-1].size)
    engine = Engine(segment, driver, workers=2, slots=12, scratch_bytes=scratch_bytes)
    expected = [engine.run(codes.asked[:1], each).rows for each in options]

    def client(number: int) -> None:
        for turn in range(20):
            which = (number + turn) % len(options)
            answers = engine.run(codes.asked[:7], options[which])
            np.testing.assert_array_equal(answers.rows[:1], expected[which])

    in_threads(8, client)
    engine.close()
    assert 2 < watch.most_slots < 12
    assert watch.most_bytes <= scratch_bytes
    assert not watch.open


def test_a_query_larger_than_the_scratch_is_searched_alone(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    engine = Engine(segment, driver, workers=2, slots=12, scratch_bytes=5000)
    in_threads(4, lambda number: engine.run(codes.asked, codes.options()) and None)
    engine.close()


def test_single_queries_of_two_threads_run_side_by_side(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    faults = [Fault(FaultKind.DELAY, 150_000, times=-1)]
    options = codes.options(max_reads=1)
    spans: list[tuple[int, int]] = []
    with running(segment, driver, workers=2, slots=2, faults=faults) as engine:

        def client(number: int) -> None:
            counters = engine.run(codes.asked[number : number + 1], options).counters[0]
            start = int(counters[state.N_START_NS])
            spans.append((start, start + int(counters[state.N_PENDING])))

        in_threads(2, client)
    assert max(start for start, _ in spans) < min(end for _, end in spans)


def interrupted(engine: Engine, codes: Sample, after_seconds: float) -> None:
    """Search everything, slowly, with an interrupt on the way."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, after_seconds)
    try:
        engine.run(np.concatenate([codes.asked] * 50), codes.whole())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_an_interrupt_ends_the_call_and_not_the_engine(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    with running(segment, driver, faults=[Fault(FaultKind.DELAY, 10_000, times=-1)]) as engine:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            interrupted(engine, codes, 0.15)
        assert time.monotonic() - start < 5
        assert (engine.run(codes.asked[:2], codes.options()).counts == 10).all()
