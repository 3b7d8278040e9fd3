"""Coroutines by the hundred share the workers; one that is cancelled harms no other."""

from __future__ import annotations

import asyncio
import errno
import threading

import numpy as np
import pytest

from pageann.errors import IndexClosed, StorageError
from pageann.index.search.answers import Answers
from pageann.index.search.engine import Engine
from pageann.index.search.load import LoadedSegment
from pageann.index.segment_files import PAGES_FILE
from pageann.storage.io.faults import Fault, FaultKind
from tests.index.search.engines import Sample, assert_same, in_threads, running


async def ask(engine: Engine, sample: Sample, number: int) -> Answers:
    """One query of the sample; every third with other settings."""
    query = number % len(sample.asked)
    options = sample.options(k=4) if number % 3 == 0 else sample.options()
    return await engine.arun(sample.asked[query : query + 1], options)


def assert_right(answers: Answers, sample: Sample, expected: Answers, number: int) -> None:
    """The answer to ``ask`` is that of the query searched alone."""
    query = number % len(sample.asked)
    k = 4 if number % 3 == 0 else 10
    np.testing.assert_array_equal(answers.rows[0], expected.rows[query, :k])
    np.testing.assert_array_equal(answers.distances[0], expected.distances[query, :k])


def test_two_hundred_coroutines_get_their_own_answers(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    with running(segment, driver, workers=2, slots=6) as engine:
        expected = engine.run(codes.asked, codes.options())

        async def everything() -> list[Answers]:
            threads = threading.active_count()
            found = await asyncio.gather(*(ask(engine, codes, number) for number in range(200)))
            assert threading.active_count() <= threads + 8  # no thread a call
            return found

        for number, answers in enumerate(asyncio.run(everything())):
            assert_right(answers, codes, expected, number)


def test_more_coroutines_than_the_queue_takes(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())

        async def everything() -> None:
            answers = await asyncio.gather(*(ask(engine, codes, number) for number in range(1500)))
            for number in range(0, 1500, 97):
                assert_right(answers[number], codes, expected, number)

        asyncio.run(everything())


def test_many_queries_of_one_coroutine(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    many = np.concatenate([codes.asked] * 8)
    excluded = np.arange(len(many), dtype=np.int64) % 700
    with running(segment, driver) as engine:
        expected = engine.run(many, codes.options(), excluded)
        assert_same(asyncio.run(engine.arun(many, codes.options(), excluded)), expected)


def test_loops_of_several_threads_beside_callers_that_block(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    with running(segment, driver, workers=2, slots=3) as engine:
        expected = engine.run(codes.asked, codes.options())

        async def some(first: int) -> None:
            answers = await asyncio.gather(*(ask(engine, codes, first + number) for number in range(40)))
            for number, one in enumerate(answers):
                assert_right(one, codes, expected, first + number)

        def client(number: int) -> None:
            if number % 2:
                asyncio.run(some(number))
            else:
                for _ in range(10):
                    assert_same(engine.run(codes.asked, codes.options()), expected)

        in_threads(6, client)


def test_cancelled_calls_are_dropped_and_others_answered(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    faults = [Fault(FaultKind.DELAY, 3000, times=-1)]
    with running(segment, driver, workers=2, slots=4, faults=faults) as engine:
        expected = engine.run(codes.asked, codes.options())

        async def everything() -> None:
            calls = [asyncio.create_task(ask(engine, codes, number)) for number in range(60)]
            await asyncio.wait(calls, timeout=0.02)
            for call in calls[::2]:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if isinstance(outcome, asyncio.CancelledError):
                    assert number % 2 == 0
                    continue
                assert isinstance(outcome, Answers)
                assert_right(outcome, codes, expected, number)
            assert any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            # A desk that was lost with a cancelled call would be missed here.
            again = await asyncio.gather(*(ask(engine, codes, number) for number in range(20)))
            for number, answers in enumerate(again):
                assert_right(answers, codes, expected, number)

        asyncio.run(everything())


def test_a_large_call_that_is_cancelled_ends_soon(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    many = np.concatenate([codes.asked] * 50)
    faults = [Fault(FaultKind.DELAY, 10_000, times=-1)]
    with running(segment, driver, faults=faults) as engine:

        async def everything() -> float:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.arun(many, codes.whole()), 0.1)
            began = asyncio.get_running_loop().time()
            await engine.arun(codes.asked[:2], codes.options())
            return asyncio.get_running_loop().time() - began

        assert asyncio.run(everything()) < 5


def test_a_fault_is_raised_in_the_call_that_met_it(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())
        first = int(expected.slots[0, 0]) // 16
    offset = segment.layouts[PAGES_FILE].page_offset(first)
    faults = [Fault(FaultKind.ERROR, errno.EIO, offset=offset, times=-1)]
    with running(segment, driver, workers=1, faults=faults) as engine:

        async def everything() -> None:
            calls = (
                engine.arun(codes.asked[number : number + 1], codes.options())
                for number in range(len(codes.asked))
            )
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(outcomes[0], StorageError)
            answered = [number for number, one in enumerate(outcomes) if isinstance(one, Answers)]
            assert answered
            for number in answered:
                np.testing.assert_array_equal(outcomes[number].rows[0], expected.rows[number])  # type: ignore[union-attr]
            assert all(isinstance(one, (Answers, StorageError)) for one in outcomes)

        asyncio.run(everything())


def test_close_answers_what_was_asked_before(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    engine = Engine(segment, driver, workers=2, slots=4)
    expected = engine.run(codes.asked, codes.options())

    async def everything() -> list[Answers]:
        calls = [asyncio.create_task(ask(engine, codes, number)) for number in range(50)]
        await asyncio.sleep(0)  # each has begun
        closing = asyncio.to_thread(engine.close)
        answers, _ = await asyncio.gather(asyncio.gather(*calls), closing)
        with pytest.raises(IndexClosed):
            await ask(engine, codes, 0)
        return answers

    for number, answers in enumerate(asyncio.run(everything())):
        assert_right(answers, codes, expected, number)


def test_close_within_the_loop_does_not_wait_for_itself(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    engine = Engine(segment, driver, workers=2, slots=4)

    async def everything() -> list[Answers | BaseException]:
        calls = [asyncio.create_task(ask(engine, codes, number)) for number in range(30)]
        await asyncio.sleep(0)
        engine.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    for outcome in asyncio.run(everything()):
        assert isinstance(outcome, (Answers, IndexClosed))


def test_close_within_a_loop_while_threads_wait_behind_it(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    faults = [Fault(FaultKind.DELAY, 5000, times=-1)]
    engine = Engine(segment, driver, workers=2, slots=4, faults=faults)
    outcomes: list[str] = []

    def client() -> None:
        try:
            for _ in range(20):
                engine.run(codes.asked, codes.options())
        except IndexClosed:
            outcomes.append("closed")

    async def everything() -> None:
        calls = [asyncio.create_task(ask(engine, codes, number)) for number in range(30)]
        await asyncio.wait(calls, timeout=0.02)
        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        await asyncio.wait(calls, timeout=0.02)
        engine.close()
        await asyncio.gather(*calls, return_exceptions=True)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    asyncio.run(everything())
    assert outcomes == ["closed"] * 3


def test_a_loop_that_ended_with_calls_open_leaves_the_engine_usable(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    faults = [Fault(FaultKind.DELAY, 20_000, times=60)]
    with running(segment, driver, faults=faults) as engine:

        async def leave() -> None:
            for number in range(20):
                asyncio.get_running_loop().create_task(ask(engine, codes, number))
            await asyncio.sleep(0)

        asyncio.run(leave())
        assert (engine.run(codes.asked, codes.options()).counts == 10).all()
