"""The closed loop asks every query once, keeps one call a client in flight, and times nothing else.

Guarded: answers in the order of arrival instead of that of the queries; a client that dies silently;
a warm-up that is counted; more or fewer calls in flight than clients.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from pageann.bench.loop import run_loop
from pageann.bench.options import TASKS, THREADS, Load, Target
from pageann.errors import DamagedIndex
from tests.reference.exact_index import ExactIndex

QUERIES = np.random.default_rng(9).standard_normal((37, 8)).astype(np.float32)


class WatchedIndex(ExactIndex):
    """Counts calls in flight and records what was asked."""

    def __init__(self, vectors: np.ndarray[Any, Any]) -> None:
        super().__init__(vectors)
        self.lock = threading.Lock()
        self.in_flight = 0
        self.most_in_flight = 0
        self.asked: list[np.ndarray[Any, Any]] = []
        self.threads: set[int] = set()
        self.meeting: threading.Barrier | None = None
        self.gathering: asyncio.Barrier | None = None

    @contextmanager
    def watched(self, queries: np.ndarray[Any, Any]) -> Iterator[None]:
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.asked.append(queries)
            self.threads.add(threading.get_ident())
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def search(self, queries: np.ndarray[Any, Any], k: int = 10, **options: Any) -> Any:
        with self.watched(queries):
            if self.meeting is not None:
                self.meeting.wait(timeout=30)
            return super().search(queries, k, **options)

    async def asearch(self, queries: np.ndarray[Any, Any], k: int = 10, **options: Any) -> Any:
        with self.watched(queries):
            if self.gathering is not None:
                await asyncio.wait_for(self.gathering.wait(), timeout=30)
            else:
                await asyncio.sleep(0)
            return super().search(queries, k, **options)


@pytest.fixture
def watched(index: ExactIndex) -> WatchedIndex:
    return WatchedIndex(index.vectors)


@pytest.mark.parametrize("batch", [1, 5, 100])
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("clients", [THREADS, TASKS])
def test_answers_stand_in_the_order_of_the_queries(
    watched: WatchedIndex, index: ExactIndex, clients: str, concurrency: int, batch: int
) -> None:
    load = Load(concurrency, clients=clients)
    loop = run_loop(watched, QUERIES, 10, Target(None, 20), load, batch=batch)  # type: ignore[arg-type]
    assert np.array_equal(loop.distances, index.search(QUERIES, 10).distances)
    assert len(loop.stats) == len(loop.latency_us) == len(QUERIES)
    assert (loop.latency_us > 0).all()
    assert loop.stats.means()["effort"] == 20


@pytest.mark.parametrize("clients", [THREADS, TASKS])
def test_each_query_is_asked_once_after_the_warm_up(watched: WatchedIndex, clients: str) -> None:
    run_loop(watched, QUERIES, 10, Target(0.9, None), Load(3, clients=clients), batch=1)  # type: ignore[arg-type]
    asked = np.concatenate(watched.asked)
    warm_up, timed = asked[: len(QUERIES)], asked[len(QUERIES) :]
    for rows in (warm_up, timed):
        assert np.array_equal(np.unique(rows, axis=0), np.unique(QUERIES, axis=0))


def test_one_client_is_the_main_thread(watched: WatchedIndex) -> None:
    run_loop(watched, QUERIES, 10, Target(0.9, None), Load(1), batch=1)  # type: ignore[arg-type]
    assert watched.threads == {threading.get_ident()}
    assert watched.most_in_flight == 1


def test_clients_work_at_the_same_time(watched: WatchedIndex) -> None:
    watched.meeting = threading.Barrier(4)
    queries = QUERIES[:36]
    run_loop(watched, queries, 10, Target(0.9, None), Load(4), batch=1)  # type: ignore[arg-type]
    assert watched.most_in_flight == 4


def test_tasks_work_at_the_same_time_on_one_thread(watched: WatchedIndex) -> None:
    watched.gathering = asyncio.Barrier(4)  # of one loop, so that there is no warm-up
    load, target = Load(4, clients=TASKS), Target(0.9, None)
    run_loop(watched, QUERIES[:36], 10, target, load, batch=1, warm_up=False)  # type: ignore[arg-type]
    assert watched.most_in_flight == 4
    assert watched.threads == {threading.get_ident()}


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("clients", [THREADS, TASKS])
def test_a_failure_of_any_client_is_the_failure_of_the_loop(
    watched: WatchedIndex, clients: str, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged_search(self: ExactIndex, queries: Any, k: int = 10, **options: Any) -> Any:
        raise DamagedIndex("page 7", "pages.bin", 7)

    monkeypatch.setattr(ExactIndex, "search", damaged_search)
    load = Load(concurrency, clients=clients)
    with pytest.raises(DamagedIndex):
        run_loop(watched, QUERIES, 10, Target(0.9, None), load, batch=1)  # type: ignore[arg-type]
    assert len(watched.asked) <= concurrency


def test_a_cold_start_has_no_warm_up(watched: WatchedIndex) -> None:
    run_loop(watched, QUERIES, 10, Target(0.9, None), Load(1), batch=1, warm_up=False)  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate(watched.asked), QUERIES)
