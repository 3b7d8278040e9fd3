"""Who is served when: a large call is shared out and keeps nobody out, small ones of a kind go together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from pageann.errors import IndexClosed
from pageann.index.kernels.state import FLOW_ENDED, FLOW_ENOUGH, FLOW_LAST, FLOW_NEXT, GONE, N_DEADLINE_NS
from pageann.index.search.call_queue import CallQueue
from pageann.index.search.calls import Call
from pageann.index.search.crew import _wake
from pageann.index.search.engine import CallOptions
from pageann.index.search.jobs import Job
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


def begun(job: Job) -> list[int]:
    """The numbers of the queries that a worker would begin now, in turn."""
    asked = job.part.asked
    places = range(int(asked.flow[FLOW_NEXT]), int(asked.flow[FLOW_LAST]))
    return [int(asked.queries[asked.order[at % len(asked.order)], 0]) for at in places]


def end(job: Job, queries: int) -> None:
    """Answer the next ``queries`` queries with their own numbers, as a worker would."""
    asked = job.part.asked
    for _ in range(queries):
        row = asked.order[asked.flow[FLOW_NEXT] % len(asked.order)]
        asked.flow[FLOW_NEXT] += 1
        asked.rows[row] = int(asked.queries[row, 0])
        asked.counts[row] = asked.rows.shape[1]
        asked.ended[asked.flow[FLOW_ENDED]] = row
        asked.flow[FLOW_ENDED] += 1


def answer(queue: CallQueue, job: Job) -> list[Call]:
    """Answer all that is in ``job``, and be done with it."""
    end(job, len(begun(job)))
    ended = queue.turn_over(job, may_join=False)
    assert not job.goes_on
    return ended + queue.finish(job, None)


def rows_of(one: Call) -> list[int]:
    """The first row of each answer."""
    assert one.answers is not None
    found: list[int] = one.answers.rows[:, 0].tolist()
    return found


def put(queue: CallQueue, calls: Sequence[Call]) -> None:
    for one in calls:
        queue.put(one)


def test_a_large_call_is_shared_out_and_ends_with_its_last_share() -> None:
    queue = CallQueue(joint_queries=4)
    large = call(3000, width=2)
    queue.put(large)
    first, second = take(queue), take(queue)
    assert begun(first) == [*range(1024)]
    assert begun(second) == [*range(1024, 2048)]
    assert answer(queue, second) == []
    third = take(queue)
    assert begun(third) == [*range(2048, 3000)]
    assert answer(queue, first) == []
    assert answer(queue, third) == [large]
    assert rows_of(large) == [*range(3000)]


def test_no_more_workers_than_asked_for() -> None:
    queue = CallQueue(joint_queries=4)
    narrow, other = call(3000, width=1), call(1, k=3)
    put(queue, [narrow, other])
    first = take(queue)
    assert begun(first) == [*range(1024)]
    assert answer(queue, take(queue)) == [other]
    queue.close()
    assert queue.take() is None  # a second worker on the narrow call would be one too many
    answer(queue, first)
    assert begun(take(queue))[0] == 1024


def test_large_and_small_take_turns() -> None:
    queue = CallQueue(joint_queries=4)
    put(queue, [call(5000, width=3), call(1, first=7)])
    assert begun(take(queue))[0] == 0
    assert begun(take(queue)) == [7]
    assert begun(take(queue))[0] == 1024


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
    assert begun(job) == [10, 11, 20, 40, 41, 42]  # the last would be the seventh query
    assert job.part.asked.excluded[job.part.asked.order].tolist() == [10, 11, 20, 40, 41, 42]
    assert answer(queue, job) == [calls[0], calls[1], calls[3]]
    assert rows_of(calls[0]) == [10, 11]
    assert rows_of(calls[3]) == [40, 41, 42]
    assert answer(queue, take(queue)) == [calls[2]]
    assert answer(queue, take(queue)) == [calls[4]]


def test_deadlines_stay_with_their_queries() -> None:
    queue = CallQueue(joint_queries=6)
    put(queue, [call(1, deadline_ns=7), call(2), call(1, deadline_ns=9)])
    job = take(queue)
    asked = job.part.asked
    assert asked.counters[asked.order[:4], N_DEADLINE_NS].tolist() == [7, 0, 0, 9]


def test_answers_of_a_joint_job_are_the_caller_s_own() -> None:
    queue = CallQueue(joint_queries=6)
    calls = [call(1, first=1), call(1, first=2)]
    put(queue, calls)
    job = take(queue)
    answer(queue, job)
    for one in calls:
        assert one.answers is not None
        assert not np.shares_memory(one.answers.rows, job.part.answers.rows)


def test_idle_workers_get_their_share() -> None:
    queue = CallQueue(joint_queries=100)
    put(queue, [call(1), call(1), call(1), call(6, width=2)])
    queue._idle = 1  # as if another worker waited
    assert len(begun(take(queue))) == 2
    assert len(begun(take(queue))) == 1
    assert len(begun(take(queue))) == 3


def test_a_withdrawn_call_is_not_begun() -> None:
    queue = CallQueue(joint_queries=4)
    gone, kept = call(1), call(1, k=3)
    put(queue, [gone, kept])
    assert not queue.withdraw(gone)
    assert answer(queue, take(queue)) == [kept]


def test_a_withdrawn_call_that_runs_ends_with_its_share() -> None:
    queue = CallQueue(joint_queries=4)
    large = call(5000, width=2)
    queue.put(large)
    job = take(queue)
    assert queue.withdraw(large)
    assert job.part.asked.stop[0] == 1
    assert queue.turn_over(job, may_join=True) == []
    assert queue.finish(job, None) == [large]


def test_withdrawing_one_of_a_joint_job_does_not_stop_the_others() -> None:
    queue = CallQueue(joint_queries=4)
    calls = [call(1, first=1), call(1, first=2)]
    put(queue, calls)
    job = take(queue)
    assert queue.withdraw(calls[0])
    assert job.part.asked.stop[0] == 0
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
    assert [answer(queue, take(queue)), answer(queue, take(queue))] == [[calls[0]], [calls[1]]]
    assert queue.take() is None


def test_an_abandoned_queue_stops_what_runs_and_fails_what_waits() -> None:
    queue = CallQueue(joint_queries=1)
    running, waiting = call(1), call(1)
    put(queue, [running, waiting])
    job = take(queue)
    assert queue.abandon() == [waiting]
    assert isinstance(waiting.error, IndexClosed)
    assert job.part.asked.stop[0] == 1
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
    assert len(begun(job)) == 6
    assert queue.withdraw(calls[1])
    asked = job.part.asked
    assert asked.counters[asked.order[:6], N_DEADLINE_NS].tolist() == [5, 5, GONE, GONE, 9, 9]
    assert job.part.asked.stop[0] == 0


def test_a_call_joins_a_job_that_runs() -> None:
    queue = CallQueue(joint_queries=3)
    calls = [call(1, first=number) for number in range(5)]
    put(queue, calls[:2])
    job = take(queue)
    put(queue, calls[2:])
    end(job, 1)
    assert queue.turn_over(job, may_join=True) == [calls[0]]  # its answer waits for no other
    assert rows_of(calls[0]) == [0]
    assert begun(job) == [1, 2, 3]  # all that there is room for
    end(job, 3)
    assert queue.turn_over(job, may_join=True) == calls[1:4]
    assert [rows_of(one) for one in calls[1:4]] == [[1], [2], [3]]
    assert job.goes_on
    assert answer(queue, job) == [calls[4]]


def test_queries_of_a_call_end_in_any_order() -> None:
    queue = CallQueue(joint_queries=4)
    calls = [call(2, first=0), call(2, first=2)]
    put(queue, calls)
    job = take(queue)
    order = job.part.asked.order
    order[[0, 1, 2, 3]] = order[[3, 1, 2, 0]]
    end(job, 3)
    assert queue.turn_over(job, may_join=True) == [calls[1]]
    assert rows_of(calls[1]) == [2, 3]
    end(job, 1)
    assert queue.turn_over(job, may_join=True) == [calls[0]]
    assert rows_of(calls[0]) == [0, 1]


def test_calls_of_other_settings_wait_no_longer_than_a_job_would_last() -> None:
    queue = CallQueue(joint_queries=3)
    put(queue, [call(1), call(1), call(1, k=3, first=9)])
    job = take(queue)
    joined = 0
    while job.goes_on:
        put(queue, [call(1)])
        end(job, 1)
        queue.turn_over(job, may_join=True)
        joined += 1
        assert joined < 10, "others wait for ever"
    queue.finish(job, None)
    assert begun(take(queue)) == [9]


def test_nobody_joins_a_job_that_should_make_room() -> None:
    queue = CallQueue(joint_queries=4)
    put(queue, [call(1), call(1)])
    job = take(queue)
    put(queue, [call(1, first=5)])
    end(job, 2)
    queue.turn_over(job, may_join=False)
    assert not job.goes_on
    assert begun(take(queue)) == [5]


def test_an_error_ends_the_calls_that_are_left_in_a_job() -> None:
    queue = CallQueue(joint_queries=4)
    calls = [call(1), call(1)]
    put(queue, calls)
    job = take(queue)
    end(job, 1)
    assert queue.turn_over(job, may_join=True) == [calls[0]]
    error = RuntimeError("no")
    assert queue.finish(job, error) == [calls[1]]
    assert (calls[0].error, calls[1].error) == (None, error)


@pytest.mark.parametrize(("slots", "answers"), [(32, 4), (8, 4), (1, 4), (4, 4)])
def test_answers_are_handed_out_when_half_of_the_queries_have_ended(slots: int, answers: int) -> None:
    queue = CallQueue(joint_queries=20)
    put(queue, [call(1) for _ in range(9)])
    job = take(queue)
    flow = job.part.asked.flow
    job.part.pace(slots)
    assert flow[FLOW_ENOUGH] == answers
    end(job, 8)
    queue.turn_over(job, may_join=True)
    job.part.pace(slots)
    assert flow[FLOW_ENOUGH] == 1


@pytest.mark.parametrize(("slots", "answers"), [(40, 20), (2, 16)])
def test_answers_wait_for_half_of_those_in_flight_or_for_sixteen(slots: int, answers: int) -> None:
    queue = CallQueue(joint_queries=64)
    put(queue, [call(1) for _ in range(64)])
    job = take(queue)
    job.part.pace(slots)
    assert job.part.asked.flow[FLOW_ENOUGH] == answers


def test_large_answers_have_memory_of_their_own() -> None:
    queue = CallQueue(joint_queries=64)
    put(queue, [call(2, k=10_000), call(2, k=10_000, first=2)])
    assert [begun(take(queue)), begun(take(queue))] == [[0, 1], [2, 3]]


def test_a_busy_worker_leaves_calls_to_idle_ones() -> None:
    queue = CallQueue(joint_queries=8)
    put(queue, [call(1), call(1)])
    job = take(queue)
    put(queue, [call(1, first=5)])
    queue._idle = 1  # as if another worker had been woken
    queue.turn_over(job, may_join=True)
    assert begun(job) == [0, 0]


def test_nothing_comes_in_time() -> None:
    assert CallQueue(joint_queries=1).take(1e-6) is None


def test_a_worker_is_woken_for_the_next_share() -> None:
    """It could not take it while another had as many workers as the call may have."""
    queue = CallQueue(joint_queries=4)
    queue.put(call(3000, width=1))
    first = take(queue)
    taken: list[Job | None] = []
    other = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    other.start()
    tick = threading.Event()
    while queue._idle == 0:
        tick.wait(0.001)
    end(first, 1024)
    queue.turn_over(first, may_join=True)
    other.join(10)
    assert len(taken) == 1
    assert taken[0] is not None
    assert begun(taken[0])[0] == 1024
