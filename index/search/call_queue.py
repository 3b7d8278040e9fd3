"""Calls that wait for workers: large ones are divided, small ones of equal settings answered together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from pageann.index.search.calls import Call, closed_engine
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.jobs import Job, JointJob, ShareJob

__all__ = ["CallQueue"]

_PASSED_MOST = 64
"""Calls of other settings that are passed over in search of equal ones."""


class CallQueue:
    """The queue between callers and worker threads.

    Whole calls of up to ``joint_queries`` queries may be put together in one job, which others join while
    it runs; they are answered as if each had come alone. Calls take turns, so that a large one does not
    keep out small ones, nor those of one kind those of another.
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

    @property
    def is_closed(self) -> bool:
        """Whether no more calls are accepted."""
        return self._closed

    def take(self, seconds: float | None = None) -> Job | None:
        """The next job, for a worker; waits for one. None: there was none in ``seconds``, or will be none."""
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
                    came = self._ready.wait(seconds)
                finally:
                    self._idle -= 1
                if not came:
                    return None

    def _next_job(self) -> Job | None:
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            alone = len(call) > 1 and self._idle > 0  # others can share the work
            if call.untouched and call.is_small and len(call) <= self._joint_queries and not alone:
                return self._small_job(call)
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
        return ShareJob(call, first, call.upcoming)

    def _small_job(self, call: Call) -> Job:
        """A job of ``call`` and of others that can be answered with it; idle workers are left their share."""
        most_calls = len(self._calls) // (self._idle + 1)
        others, _ = self._take_equals(call.key, self._joint_queries - len(call), most_calls)
        _begin([call])
        if not others:
            return ShareJob(call, 0, len(call))
        job = JointJob(call.key, call.queries.shape[1], self._joint_queries)
        for one in [call, *others]:
            job.admit(one)
        return job

    def _take_equals(self, key: CallOptions, room: int, most_calls: int) -> tuple[list[Call], bool]:
        """Small calls with the settings ``key`` of at most ``room`` queries.

        And whether others were passed over that wait for a worker.
        """
        taken: list[Call] = []
        passed: list[Call] = []
        while self._calls and room > 0 and len(taken) < most_calls and len(passed) < _PASSED_MOST:
            other = self._calls.popleft()
            equal = other.key is key or other.key == key
            if equal and other.untouched and other.is_small and len(other) <= room:
                taken.append(other)
                room -= len(other)
            else:
                passed.append(other)
        self._calls.extendleft(reversed(passed))
        _begin(taken)
        return taken, any(other.running < other.width for other in passed)

    def turn_over(self, job: Job, may_join: bool) -> list[Call]:
        """Take what a worker has answered of ``job``, and let calls that wait join; those that have ended."""
        with self._lock:
            ended = self._done(job.collect())
            if may_join and isinstance(job, JointJob) and job.room > 0:
                # Calls that idle workers have been woken for are theirs.
                most_calls = max(0, len(self._calls) - self._idle)
                job.let_join(*self._take_equals(job.options, job.room, most_calls))
            return ended

    def finish(self, job: Job, error: BaseException | None) -> list[Call]:
        """Note that a worker is done with ``job``; the calls that have thereby ended."""
        with self._lock:
            self._jobs.discard(job)
            left = job.leave()
            if error is not None:
                for call in left:
                    call.error = error
                    self._forget(call)
            return self._done(left)

    def _done(self, calls: Sequence[Call]) -> list[Call]:
        """A worker has done what it took of the calls; those that have thereby ended."""
        ended = []
        for call in calls:
            call.running -= 1
            if call.upcoming < len(call):
                self._ready.notify()  # there may be a worker that could not take it
            elif call.running == 0:
                ended.append(call)
        return ended

    def withdraw(self, call: Call) -> bool:
        """Let no more of ``call`` be started, and end what runs soon; whether anything still runs."""
        with self._lock:
            self._forget(call)
            for job in self._jobs:
                job.give_up(call)
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
                job.part.asked.stop[0] = 1
            waiting = list(self._calls)
            for call in waiting:
                self._forget(call)
                call.error = closed_engine()
            return [call for call in waiting if call.running == 0]


def _begin(calls: Sequence[Call]) -> None:
    """A worker takes the calls whole."""
    for call in calls:
        call.upcoming = len(call)
        call.running = 1
