"""Calls that wait for workers: large ones are divided, small ones of equal settings put together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.errors import IndexClosed
from pageann.index.kernels.state import GONE, N_DEADLINE_NS
from pageann.index.search.answers import Answers
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.part import Part

__all__ = ["Call", "CallQueue", "Ending", "Job", "closed_engine"]

_LARGEST_SHARE = 1024
"""Queries of a call that a worker takes at a time: others wait no longer than these last."""
_PASSED_MOST = 64
"""Calls of other settings that are passed over in search of equal ones."""


def closed_engine() -> IndexClosed:
    """The error for a call after, or cut short by, ``close``."""
    return IndexClosed("the index was closed; open it again")


class Ending:
    """What one thread waits for and another brings about, once: an Event at a fifth of its cost."""

    __slots__ = ("_come", "_pending")

    def __init__(self) -> None:
        self._come = False
        self._pending = threading.Lock()
        self._pending.acquire()

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._come

    def set(self) -> None:
        """Let those who wait go on; a second time does nothing."""
        if not self._come:
            self._come = True
            self._pending.release()

    def wait(self) -> None:
        """Wait for it; an interrupt of the main thread ends that."""
        with self._pending:  # let the next one pass
            pass


class Call:
    """One call: its queries, its answers, and how far it is."""

    def __init__(
        self,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64],
        width: int,
    ) -> None:
        self.queries = queries
        self.options = options
        self.excluded = excluded
        self.answers = Answers.unanswered(len(queries), options.size.k)
        self.answers.counters[:, N_DEADLINE_NS] = options.deadline_ns
        self.key = options.without_deadline()
        self.stop = np.zeros(1, np.int64)
        self.joint_counters: npt.NDArray[np.int64] | None = None
        """Its rows of the counters of a job that it shares with other calls."""
        self.width = max(1, min(width, len(queries)))
        """Most workers at a time."""
        self.share = min(-(-len(queries) // self.width), _LARGEST_SHARE)
        self.upcoming = 0
        """The first query that no worker has taken."""
        self.running = 0
        """Workers at it."""
        self.error: BaseException | None = None
        self.ended = Ending()
        self.future: asyncio.Future[None] | None = None
        """Resolved instead, in its loop, where a coroutine waits."""

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def untouched(self) -> bool:
        """Whether no worker has taken any of it."""
        return self.upcoming == 0

    def part(self, first: int, last: int) -> Part:
        """A range of its queries."""
        return Part(self.queries, self.options, self.excluded, self.answers, first, last, self.stop)


@dataclass(eq=False, slots=True)
class Job:
    """What a worker takes: a range of one call, or several small calls whole."""

    part: Part
    calls: list[Call]

    def share_answers(self) -> None:
        """Give the calls of a joint job the answers that are theirs."""
        if len(self.calls) > 1:
            first = 0
            for call in self.calls:
                self.part.answers.copy_into(call.answers, first)
                first += len(call)


def _joint_job(calls: list[Call]) -> Job:
    if len(calls) == 1:
        return Job(calls[0].part(0, len(calls[0])), calls)
    queries = np.concatenate([call.queries for call in calls])
    excluded = np.concatenate([call.excluded for call in calls])
    options = calls[0].key
    answers = Answers.unanswered(len(queries), options.size.k)
    first = 0
    for call in calls:
        call.joint_counters = answers.counters[first : first + len(call)]
        call.joint_counters[:] = call.answers.counters
        first += len(call)
    return Job(Part(queries, options, excluded, answers, 0, len(queries), np.zeros(1, np.int64)), calls)


class CallQueue:
    """The queue between callers and worker threads.

    Whole calls of up to ``joint_queries`` queries may be put together in one job; they are answered
    as if each had come alone. Calls take turns, so that a large one does not keep out small ones.
    """

    def __init__(self, joint_queries: int) -> None:
        self._joint_queries = joint_queries
        # Re-entrant: the collector may end an engine on a thread that is in here.
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        self._calls: deque[Call] = deque()
        self._jobs: set[Job] = set()
        self._idle = 0
        self._closed = False

    def put(self, call: Call) -> None:
        """Have workers answer ``call``; IndexClosed after :meth:`close`."""
        with self._lock:
            if self._closed:
                raise closed_engine()
            self._calls.append(call)
            self._ready.notify(call.width)

    def take(self) -> Job | None:
        """The next job, for a worker; waits for one. None: there will be no more."""
        with self._lock:
            while True:
                job = self._next_job()
                if job is not None:
                    self._jobs.add(job)
                    return job
                if self._closed:
                    return None
                self._idle += 1
                try:
                    self._ready.wait()
                finally:
                    self._idle -= 1

    def _next_job(self) -> Job | None:
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            alone = len(call) > 1 and self._idle > 0  # others can share the work
            if call.untouched and len(call) <= self._joint_queries and not alone:
                return _joint_job(self._with_equals(call))
            if call.running < call.width:
                return self._next_share(call)
            self._calls.append(call)
        return None

    def _next_share(self, call: Call) -> Job:
        first = call.upcoming
        call.upcoming = min(first + call.share, len(call))
        call.running += 1
        if call.upcoming < len(call):
            self._calls.append(call)
        return Job(call.part(first, call.upcoming), [call])

    def _with_equals(self, call: Call) -> list[Call]:
        """``call`` and others that can be answered with it; idle workers are left their share."""
        most_calls = -(-(len(self._calls) + 1) // (self._idle + 1))
        taken, total = [call], len(call)
        passed: list[Call] = []
        while self._calls and len(taken) < most_calls and len(passed) < _PASSED_MOST:
            other = self._calls.popleft()
            equal = other.key is call.key or other.key == call.key
            if equal and other.untouched and total + len(other) <= self._joint_queries:
                taken.append(other)
                total += len(other)
            else:
                passed.append(other)
        self._calls.extendleft(reversed(passed))
        for one in taken:
            one.upcoming = len(one)
            one.running = 1
        return taken

    def finish(self, job: Job, error: BaseException | None) -> list[Call]:
        """Note that a worker is done with ``job``; the calls that have thereby ended."""
        with self._lock:
            self._jobs.discard(job)
            ended = []
            for call in job.calls:
                call.running -= 1
                if error is not None:
                    call.error = error
                    self._forget(call)
                if call.running == 0 and call.upcoming >= len(call):
                    ended.append(call)
            return ended

    def withdraw(self, call: Call) -> bool:
        """Let no more of ``call`` be started, and end what runs soon; whether anything still runs."""
        with self._lock:
            self._forget(call)
            call.stop[0] = 1
            if call.joint_counters is not None:
                call.joint_counters[:, N_DEADLINE_NS] = GONE
            return call.running > 0

    def _forget(self, call: Call) -> None:
        call.upcoming = len(call)
        if call in self._calls:
            self._calls.remove(call)

    def close(self) -> None:
        """Accept no more calls; workers end once those that wait are answered."""
        with self._lock:
            self._closed = True
            self._ready.notify_all()

    def abandon(self) -> list[Call]:
        """Close and cut short everything; the calls that no worker has begun, ended with IndexClosed."""
        with self._lock:
            self.close()
            for job in self._jobs:
                job.part.stop[0] = 1
            waiting = list(self._calls)
            for call in waiting:
                self._forget(call)
                call.error = closed_engine()
            return [call for call in waiting if call.running == 0]
