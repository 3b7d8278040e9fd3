"""In an open loop queries arrive by themselves, and the time of one counts from its arrival.

Guarded: a benchmark that slows its questions down while answers are slow, and then reports that nobody
waited; arrivals that differ from run to run of the same seed.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from pageann.bench.loop import arrival_seconds, run_loop
from pageann.bench.options import TASKS, THREADS, BenchOptions, Load, Target
from tests.reference.exact_index import ExactIndex

QUERIES = np.random.default_rng(9).standard_normal((40, 8)).astype(np.float32)
SLOW_SECONDS = 0.05


class OnceSlow(ExactIndex):
    """The first search after the warm-up takes a while."""

    calls = 0

    def search(self, queries: np.ndarray[Any, Any], k: int = 10, **options: Any) -> Any:
        self.calls += 1
        if self.calls == len(QUERIES) + 1:
            threading.Event().wait(SLOW_SECONDS)
        return super().search(queries, k, **options)


def test_waiting_for_a_slow_answer_is_in_the_time_of_those_behind_it(index: ExactIndex) -> None:
    slow = OnceSlow(index.vectors)
    loop = run_loop(slow, QUERIES, 10, Target(0.9, None), Load(1, rate=4000.0), batch=1)  # type: ignore[arg-type]
    waited = loop.latency_us > 0.5 * SLOW_SECONDS * 1e6
    assert waited.sum() > len(QUERIES) / 2  # all arrive within 10 ms or so
    slow.calls = 0
    closed = run_loop(slow, QUERIES, 10, Target(0.9, None), Load(1), batch=1)  # type: ignore[arg-type]
    assert (closed.latency_us > 0.5 * SLOW_SECONDS * 1e6).sum() < len(QUERIES) / 4


@pytest.mark.parametrize("clients", [THREADS, TASKS])
def test_the_run_lasts_as_long_as_queries_arrive(index: ExactIndex, clients: str) -> None:
    load = Load(4, rate=400.0, clients=clients)
    loop = run_loop(index, QUERIES, 10, Target(0.9, None), load, batch=1, seed=3)  # type: ignore[arg-type]
    assert loop.wall_seconds >= arrival_seconds(len(QUERIES), 400.0, 3)[-1]


def test_arrivals_have_their_rate_and_come_again_with_the_seed() -> None:
    due = arrival_seconds(20_000, 500.0, 1)
    assert (np.diff(due) > 0).all()
    assert len(due) / due[-1] == pytest.approx(500, rel=0.05)
    assert np.array_equal(due, arrival_seconds(20_000, 500.0, 1))
    assert not np.array_equal(due, arrival_seconds(20_000, 500.0, 2))


def test_every_rate_meets_every_number_of_clients() -> None:
    options = BenchOptions("i", "q", "t", concurrencies=(1, 8), rates=(None, 100.0))
    assert options.loads == (Load(1), Load(1, 100.0), Load(8), Load(8, 100.0))


def test_every_kind_of_client_meets_every_number_of_them() -> None:
    options = BenchOptions("i", "q", "t", concurrencies=(1, 8), clients=(THREADS, TASKS))
    assert options.loads == (Load(1), Load(1, clients=TASKS), Load(8), Load(8, clients=TASKS))
