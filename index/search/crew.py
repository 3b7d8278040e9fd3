"""Worker threads that answer calls, for callers that block and for coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Sequence

from pageann.index.search.call_queue import CallQueue
from pageann.index.search.calls import Call, Ending
from pageann.index.search.desks import Desk
from pageann.index.search.ending import end_at_exit
from pageann.index.search.jobs import Job
from pageann.storage.io import fork
from pageann.storage.io.contract import ReadDriver

__all__ = ["ThreadCrew"]

_COROUTINES_MOST = 1024
"""Calls of one event loop that are in the queue at a time; more of them wait for their turn."""

_LOOK_SECONDS = 0.05
"""How often an idle worker looks after a read that hangs."""

MakeDesk = Callable[[int], Desk]


class ThreadCrew:
    """``slots`` queries in flight, shared out among ``workers`` threads (fewer if there are fewer slots).

    ``make_desk(slots)`` is called on each thread; ``driver`` is what the desks share, closed at the end.
    """

    def __init__(
        self, make_desk: MakeDesk, workers: int, slots: int, driver: ReadDriver | None = None
    ) -> None:
        self.workers = min(workers, slots)
        self._driver = driver
        self._made_in = fork.generation()
        self._queue = CallQueue(4 * -(-slots // self.workers))
        self._admissions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._admissions = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._threads = []
        for number in range(self.workers):
            share = slots // self.workers + int(number < slots % self.workers)
            # Daemons, since for other threads the interpreter waits before it has them ended.
            thread = threading.Thread(
                target=_work, args=(self._queue, make_desk, share), name=f"pageann-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        end_at_exit(self)

    def run(self, call: Call) -> None:
        """Wait until ``call`` is answered; when interrupted, until it has ended."""
        try:
            self._queue.put(call)
            call.ended.wait()
        except BaseException:
            if self._queue.withdraw(call):
                _outlast(call.ended)
            raise

    async def arun(self, call: Call) -> None:
        """The same for a coroutine; a cancelled call is dropped."""
        loop = asyncio.get_running_loop()
        async with self._admission(loop):
            call.future = loop.create_future()
            self._queue.put(call)
            try:
                await call.future
            except asyncio.CancelledError:
                self._queue.withdraw(call)
                raise

    def _admission(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        with self._lock:
            if loop not in self._admissions:
                self._admissions[loop] = asyncio.Semaphore(_COROUTINES_MOST)
            return self._admissions[loop]

    def close(self) -> None:
        """Answer what waits, then end the threads. Does nothing in a forked child, which has none."""
        if self._made_in == fork.generation():
            self._queue.close()
            self._join()
            if self._driver is not None:
                self._driver.close()

    def abandon(self) -> None:
        """Cut short what runs and have the threads end, without waiting for them."""
        if self._made_in == fork.generation():
            _wake(self._queue.abandon())

    def end(self) -> None:
        """Cut short what runs and end the threads."""
        self.abandon()
        if self._made_in == fork.generation():
            self._join()

    def _join(self) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


def _work(queue: CallQueue, make_desk: MakeDesk, slots: int) -> None:
    """The life of a worker."""
    desk = make_desk(slots)
    try:
        while (job := _next_job(queue, desk)) is not None:
            error: BaseException | None = None
            try:
                desk.search(job.part, functools.partial(_turn_over, queue, job))
            except BaseException as failure:
                error = failure
            _wake(queue.finish(job, error))
            del job, error
    finally:
        desk.close()


def _next_job(queue: CallQueue, desk: Desk) -> Job | None:
    """What to do next; None at the end. A read that hangs, and that no query waits for, is looked after."""
    while not queue.is_closed and not desk.settle():
        if (job := queue.take(_LOOK_SECONDS)) is not None:
            return job
    return queue.take()


def _turn_over(queue: CallQueue, job: Job, may_join: bool) -> bool:
    """Hand out the answers that a worker has, let others join; whether it goes on."""
    _wake(queue.turn_over(job, may_join))
    return job.goes_on


def _outlast(ended: Ending) -> None:
    """Wait, however often the waiting is interrupted."""
    while not ended.is_set():
        with contextlib.suppress(KeyboardInterrupt):
            ended.wait()


def _wake(calls: Sequence[Call]) -> None:
    """Tell those who wait for ``calls``, each event loop once."""
    futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for call in calls:
        if call.future is not None:
            futures.setdefault(call.future.get_loop(), []).append(call.future)
        call.ended.set()
    for loop, waiting in futures.items():
        with contextlib.suppress(RuntimeError):  # a loop that was closed waits for nothing
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
