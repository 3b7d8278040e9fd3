"""The loop: clients that each keep one call in flight, and what their calls took.

One client runs in the main thread; several run in a thread each, or as coroutines of one event loop. They
take the calls from one counter, so that none is idle while there is work. In a closed loop a client makes
its next call when the answer is there. In an open loop queries become due at random times, a given number
a second; a client that is free takes the next one at its time, and the time of a query counts from when
it was due, so that waiting for a free client counts too.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pageann.bench.machine import cpu_seconds
from pageann.bench.options import TASKS, Load, Target
from pageann.results import QueryStats, SearchResult

if TYPE_CHECKING:
    from pageann.api import Index

__all__ = ["LoopResult", "Pace", "arrival_seconds", "run_clients", "run_loop", "run_tasks"]

_WARM_UP_QUERIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class LoopResult:
    """What a loop found and took; arrays are in the order of the queries."""

    distances: NDArray[np.float32]
    """(q, k)."""
    stats: QueryStats
    latency_us: NDArray[np.float64]
    """(q,): wall time of the call that answered the query, from when it was due."""
    wall_seconds: float
    cpu_seconds: float
    """User and system time of all threads of the process."""


class Pace(Protocol):
    """When calls begin."""

    def due_ns(self, number: int) -> int:
        """The nanosecond of ``time.perf_counter_ns`` that the time of call ``number`` counts from."""
        ...


class AtOnce:
    """Closed loop: a call is due when its client is free."""

    def due_ns(self, number: int) -> int:
        """Now."""
        return time.perf_counter_ns()


class Arrivals:
    """Open loop: calls are due at given seconds after ``started_ns``."""

    def __init__(self, due_seconds: NDArray[np.float64], started_ns: int) -> None:
        self._due_ns = started_ns + (due_seconds * 1e9).astype(np.int64)

    def due_ns(self, number: int) -> int:
        """When the call is due, which may be past."""
        return int(self._due_ns[number])


def _seconds_until(due_ns: int) -> float:
    """0 or less where that is past."""
    return (due_ns - time.perf_counter_ns()) / 1e9


def arrival_seconds(calls: int, calls_per_second: float, seed: int) -> NDArray[np.float64]:
    """(calls,) ascending times of a Poisson process from a seed."""
    gaps = np.random.default_rng(seed).exponential(1 / calls_per_second, calls)
    return np.cumsum(gaps)


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """The calls of one loop: slices of the queries, and a place for each answer."""

    index: Index
    queries: NDArray[Any]
    k: int
    target: Target
    batch: int
    answers: list[SearchResult | None]
    latency_us: NDArray[np.float64]

    @classmethod
    def of(cls, index: Index, queries: NDArray[Any], k: int, target: Target, batch: int) -> _Calls:
        """None of them made yet."""
        count = -(-len(queries) // batch)
        return cls(index, queries, k, target, batch, [None] * count, np.zeros(count, np.float64))

    def run(self, load: Load, pace: Pace) -> None:
        """Make all of them."""
        count = len(self.answers)
        if load.clients == TASKS:
            asyncio.run(run_tasks(lambda number: self.aserve(number, pace), count, load.concurrency))
        else:
            run_clients(lambda number: self.serve(number, pace), count, load.concurrency)

    def serve(self, number: int, pace: Pace) -> None:
        """Make call ``number`` and keep its answer and its time."""
        due_ns = pace.due_ns(number)
        if (wait := _seconds_until(due_ns)) > 0:
            time.sleep(wait)
        found = self.index.search(
            self._rows(number), self.k, recall=self.target.recall, effort=self.target.effort
        )
        assert isinstance(found, SearchResult), "a search without radius"
        self._keep(number, found, due_ns)

    async def aserve(self, number: int, pace: Pace) -> None:
        """The same for a coroutine."""
        due_ns = pace.due_ns(number)
        if (wait := _seconds_until(due_ns)) > 0:
            await asyncio.sleep(wait)
        found = await self.index.asearch(
            self._rows(number), self.k, recall=self.target.recall, effort=self.target.effort
        )
        self._keep(number, found, due_ns)

    def _rows(self, number: int) -> NDArray[Any]:
        return self.queries[number * self.batch : (number + 1) * self.batch]

    def _keep(self, number: int, found: SearchResult, due_ns: int) -> None:
        self.answers[number] = found
        self.latency_us[number] = (time.perf_counter_ns() - due_ns) / 1e3


def run_loop(
    index: Index,
    queries: NDArray[Any],
    k: int,
    target: Target,
    load: Load,
    *,
    batch: int,
    warm_up: bool = True,
    seed: int = 0,
) -> LoopResult:
    """Search for all ``queries`` (q, dim) under ``load``; a warm-up before is not counted."""
    if warm_up:
        _Calls.of(index, queries[:_WARM_UP_QUERIES], k, target, batch).run(load, AtOnce())
    calls = _Calls.of(index, queries, k, target, batch)
    due = None if load.rate is None else arrival_seconds(len(calls.answers), load.rate / batch, seed)
    cpu_start, wall_start = cpu_seconds(), time.perf_counter()
    calls.run(load, AtOnce() if due is None else Arrivals(due, time.perf_counter_ns()))
    wall, cpu = time.perf_counter() - wall_start, cpu_seconds() - cpu_start
    answers = [answer for answer in calls.answers if answer is not None]
    assert len(answers) == len(calls.answers), "every call has its answer"
    sizes = [len(answer) for answer in answers]
    return LoopResult(
        distances=np.concatenate([answer.distances for answer in answers]),
        stats=QueryStats.concatenate([answer.stats for answer in answers if answer.stats is not None]),
        latency_us=np.repeat(calls.latency_us, sizes),
        wall_seconds=wall,
        cpu_seconds=cpu,
    )


def run_clients(serve: Callable[[int], None], count: int, concurrency: int) -> None:
    """Serve calls 0..count-1 by ``concurrency`` clients; the first failure stops all and is raised here."""
    if concurrency == 1:
        for number in range(count):
            serve(number)
        return
    numbers = itertools.count()  # next() of a count is atomic under the GIL
    failures: list[BaseException] = []

    def client() -> None:
        while not failures and (number := next(numbers)) < count:
            try:
                serve(number)
            except BaseException as failure:
                failures.append(failure)

    clients = [
        threading.Thread(target=client, name=f"bench-client-{number}") for number in range(concurrency)
    ]
    for thread in clients:
        thread.start()
    try:
        for thread in clients:
            thread.join()
    except KeyboardInterrupt as interrupt:
        failures.append(interrupt)
        raise
    if failures:
        raise failures[0]


async def run_tasks(serve: Callable[[int], Awaitable[None]], count: int, concurrency: int) -> None:
    """The same with coroutines of the running event loop for clients."""
    numbers = itertools.count()

    async def client() -> None:
        while (number := next(numbers)) < count:
            await serve(number)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(client())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
