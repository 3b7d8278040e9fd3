"""Who is served when: a large call is shared out and keeps nobody out, small ones of a kind go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from pageann.errors import IndexClosed
from pageann.index.kernels.state import GONE, N_DEADLINE_NS
from pageann.index.search.call_queue import Call, CallQueue, Job
from pageann.index.search.crew import _wake
from pageann.index.search.engine import CallOptions
from pageann.index.search.workspace import WorkspaceSize

DIM = 3


def options(k: int = 2, deadline_ns: int = 0) -> CallOptions:
    return CallOptions(WorkspaceSize(k, 10, 5, 5, 4), 4, 2, 5, 100, deadline_ns, False)


def call(queries: int, width: int = 1, *, k: int = 2, first: int = 0, deadline_ns: int = 0) -> Call:
    """A call whose queries are numbered from ``first`` on."""
    numbers = np.arange(first, first + queries, dtype=np.float32)
    excluded = np.arange(first, first + queries, dtype=np.int64)
    return Call(np.repeat(numbers[:, None], DIM, axis=1), options(k, deadline_ns), excluded, width)


def take(queue: CallQueue) -> Job:
    job = queue.take()
    assert job is not None
    return job


def answer(queue: CallQueue, job: Job) -> list[Call]:
    """Answer every query with its own number."""
    part = job.part
    part.answers.rows[part.first : part.last] = part.queries[part.first : part.last, :1].astype(np.int64)
    part.answers.counts[part.first : part.last] = part.answers.rows.shape[1]
    job.share_answers()
    return queue.finish(job, None)


def put(queue: CallQueue, calls: Sequence[Call]) -> None:
    for one in calls:
        queue.put(one)


def test_a_large_call_is_shared_out_and_ends_with_its_last_share() -> None:
    queue = CallQueue(joint_queries=4)
    large = call(3000, width=2)
    queue.put(large)
    first, second = take(queue), take(queue)
    assert (first.part.first, first.part.last) == (0, 1024)
    assert (second.part.first, second.part.last) == (1024, 2048)
    assert answer(queue, second) == []
    third = take(queue)
    assert (third.part.first, third.part.last) == (2048, 3000)
    assert answer(queue, first) == []
    assert answer(queue, third) == [large]
    np.testing.assert_array_equal(large.answers.rows[:, 0], np.arange(3000))


def test_no_more_workers_than_asked_for() -> None:
    queue = CallQueue(joint_queries=4)
    narrow, other = call(3000, width=1), call(1, k=3)
    put(queue, [narrow, other])
    first = take(queue)
    assert first.calls == [narrow]
    assert take(queue).calls == [other]
    queue.close()
    assert queue.take() is None  # a second worker on the narrow call would be one too many
    answer(queue, first)
    assert take(queue).part.first == 1024


def test_large_and_small_take_turns() -> None:
    queue = CallQueue(joint_queries=4)
    large, small = call(5000, width=3), call(1)
    put(queue, [large, small])
    assert take(queue).calls == [large]
    assert take(queue).calls == [small]
    assert take(queue).calls == [large]


def test_small_calls_with_equal_settings_go_together() -> None:
    queue = CallQueue(joint_queries=6)
    calls = [
        call(2, first=10),
        call(1, first=20),
        call(1, k=3, first=30),
        call(3, first=40),
        call(1, first=50),
    ]
    put(queue, calls)
    job = take(queue)
    assert job.calls == [calls[0], calls[1], calls[3]]  # the last would be the seventh query
    np.testing.assert_array_equal(job.part.queries[:, 0], [10, 11, 20, 40, 41, 42])
    np.testing.assert_array_equal(job.part.excluded, [10, 11, 20, 40, 41, 42])
    assert answer(queue, job) == job.calls
    np.testing.assert_array_equal(calls[0].answers.rows[:, 0], [10, 11])
    np.testing.assert_array_equal(calls[3].answers.rows[:, 0], [40, 41, 42])
    assert take(queue).calls == [calls[2]]
    assert take(queue).calls == [calls[4]]


def test_deadlines_stay_with_their_queries() -> None:
    queue = CallQueue(joint_queries=6)
    put(queue, [call(1, deadline_ns=7), call(2), call(1, deadline_ns=9)])
    job = take(queue)
    np.testing.assert_array_equal(job.part.answers.counters[:, N_DEADLINE_NS], [7, 0, 0, 9])


def test_answers_of_a_joint_job_are_the_caller_s_own() -> None:
    queue = CallQueue(joint_queries=6)
    calls = [call(1, first=1), call(1, first=2)]
    put(queue, calls)
    job = take(queue)
    answer(queue, job)
    assert not np.shares_memory(calls[0].answers.rows, job.part.answers.rows)


def test_idle_workers_get_their_share() -> None:
    queue = CallQueue(joint_queries=100)
    put(queue, [call(1), call(1), call(1), call(6, width=2)])
    queue._idle = 1  # as if another worker waited
    assert len(take(queue).calls) == 2
    assert len(take(queue).calls) == 1
    shared = take(queue)
    assert (shared.part.first, shared.part.last) == (0, 3)


def test_a_withdrawn_call_is_not_begun() -> None:
    queue = CallQueue(joint_queries=4)
    gone, kept = call(1), call(1, k=3)
    put(queue, [gone, kept])
    assert not queue.withdraw(gone)
    assert take(queue).calls == [kept]


def test_a_withdrawn_call_that_runs_ends_with_its_share() -> None:
    queue = CallQueue(joint_queries=4)
    large = call(5000, width=2)
    queue.put(large)
    job = take(queue)
    assert queue.withdraw(large)
    assert job.part.stop[0] == 1
    assert answer(queue, job) == [large]


def test_withdrawing_one_of_a_joint_job_does_not_stop_the_others() -> None:
    queue = CallQueue(joint_queries=4)
    calls = [call(1, first=1), call(1, first=2)]
    put(queue, calls)
    job = take(queue)
    assert queue.withdraw(calls[0])
    assert job.part.stop[0] == 0
    assert calls[1] in answer(queue, job)


def test_an_error_ends_the_call_and_what_is_left_of_it() -> None:
    queue = CallQueue(joint_queries=4)
    large = call(5000, width=2)
    queue.put(large)
    first, second = take(queue), take(queue)
    error = RuntimeError("no")
    assert queue.finish(first, error) == []
    assert answer(queue, second) == [large]
    assert large.error is error
    queue.close()
    assert queue.take() is None


def test_a_closed_queue_serves_what_waits_and_takes_no_more() -> None:
    queue = CallQueue(joint_queries=1)
    calls = [call(1), call(1)]
    put(queue, calls)
    queue.close()
    with pytest.raises(IndexClosed):
        queue.put(call(1))
    assert [take(queue).calls, take(queue).calls] == [[calls[0]], [calls[1]]]
    assert queue.take() is None


def test_an_abandoned_queue_stops_what_runs_and_fails_what_waits() -> None:
    queue = CallQueue(joint_queries=1)
    running, waiting = call(1), call(1)
    put(queue, [running, waiting])
    job = take(queue)
    assert queue.abandon() == [waiting]
    assert isinstance(waiting.error, IndexClosed)
    assert job.part.stop[0] == 1
    assert queue.finish(job, None) == [running]
    assert queue.take() is None


def test_a_loop_that_was_closed_is_no_trouble() -> None:
    loop = asyncio.new_event_loop()
    one = call(1)
    one.future = loop.create_future()
    loop.close()
    _wake([one])
    assert one.ended.is_set()


def test_a_withdrawn_call_is_given_up_in_the_job_that_it_shares() -> None:
    queue = CallQueue(joint_queries=10)
    calls = [call(2, first=first, deadline_ns=5 + first) for first in (0, 2, 4)]
    put(queue, calls)
    job = take(queue)
    assert len(job.calls) == 3
    assert queue.withdraw(calls[1])
    deadlines = job.part.answers.counters[:, N_DEADLINE_NS].tolist()
    assert deadlines == [5, 5, GONE, GONE, 9, 9]
    assert job.part.stop[0] == 0
