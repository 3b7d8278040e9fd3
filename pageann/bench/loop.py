"""The closed loop: clients that each keep one call in flight, and what their calls took.

One client runs in the main thread; several run in a thread each. They take the calls from one counter,
so that none is idle while there is work.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.machine import cpu_seconds
from pageann.bench.options import Target
from pageann.results import QueryStats, SearchResult

if TYPE_CHECKING:
    from pageann.api import Index

__all__ = ["LoopResult", "closed_loop"]

_WARM_UP_QUERIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class LoopResult:
    """What a closed loop found and took; arrays are in the order of the queries."""

    distances: NDArray[np.float32]
    """(q, k)."""
    stats: QueryStats
    latency_us: NDArray[np.float64]
    """(q,): wall time of the call that answered the query."""
    wall_seconds: float
    cpu_seconds: float
    """User and system time of all threads of the process."""


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """The calls of one loop: slices of the queries, and a place for each answer."""

    search: Callable[[NDArray[Any]], SearchResult]
    queries: NDArray[Any]
    batch: int
    answers: list[SearchResult | None]
    latency_us: NDArray[np.float64]

    def serve(self, number: int) -> None:
        """Make call ``number`` and keep its answer and its time."""
        queries = self.queries[number * self.batch : (number + 1) * self.batch]
        start = time.perf_counter_ns()
        self.answers[number] = self.search(queries)
        self.latency_us[number] = (time.perf_counter_ns() - start) / 1e3


def closed_loop(
    index: Index, queries: NDArray[Any], k: int, target: Target, *, concurrency: int, batch: int
) -> LoopResult:
    """Search for all ``queries`` (q, dim) with ``concurrency`` clients; a warm-up before is not counted."""

    def search(rows: NDArray[Any]) -> SearchResult:
        found = index.search(rows, k, recall=target.recall, effort=target.effort)
        assert isinstance(found, SearchResult), "a search without radius"
        return found

    _run(_calls(search, queries[:_WARM_UP_QUERIES], batch), concurrency)
    calls = _calls(search, queries, batch)
    cpu_start, wall_start = cpu_seconds(), time.perf_counter()
    _run(calls, concurrency)
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


def _calls(search: Callable[[NDArray[Any]], SearchResult], queries: NDArray[Any], batch: int) -> _Calls:
    count = -(-len(queries) // batch)
    return _Calls(search, queries, batch, [None] * count, np.zeros(count, np.float64))


def _run(calls: _Calls, concurrency: int) -> None:
    if concurrency == 1:
        for number in range(len(calls.answers)):
            calls.serve(number)
        return
    _run_clients(calls, concurrency)


def _run_clients(calls: _Calls, concurrency: int) -> None:
    """Share the calls among threads; the first failure of any stops all and is raised here."""
    numbers = itertools.count()  # next() of a count is atomic under the GIL
    failures: list[BaseException] = []

    def client() -> None:
        while not failures and (number := next(numbers)) < len(calls.answers):
            try:
                calls.serve(number)
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
