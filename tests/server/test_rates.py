"""Each key has a bucket of its own, which fills as time goes by."""

from __future__ import annotations

import pytest

from pageann.errors import Overloaded
from pageann.server.rates import RateLimits


class Clock:
    """Time that stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    rates = RateLimits(10.0, 5, clock)
    rates.spend("alice", 5)
    with pytest.raises(Overloaded) as caught:
        rates.spend("alice", 1)
    assert caught.value.retry_after_seconds == pytest.approx(0.1)
    rates.spend("bob", 5)
    clock.now += 0.1
    rates.spend("alice", 1)
    clock.now += 1000.0
    rates.spend("alice", 5)
    with pytest.raises(Overloaded):
        rates.spend("alice", 1)


def test_a_large_batch_is_served_and_paid_off() -> None:
    clock = Clock()
    rates = RateLimits(10.0, 0, clock)
    rates.spend("alice", 100)
    with pytest.raises(Overloaded) as caught:
        rates.spend("alice", 1)
    assert caught.value.retry_after_seconds == pytest.approx(9.1)
    clock.now += 9.1
    rates.spend("alice", 1)


def test_no_limit() -> None:
    rates = RateLimits(0.0, 0)
    for _ in range(1000):
        rates.spend("alice", 1000)


def test_idle_buckets_are_forgotten() -> None:
    clock = Clock()
    rates = RateLimits(1.0, 1, clock)
    for number in range(10_000):
        rates.spend(f"key-{number}", 1)
    clock.now += 10.0
    rates.spend("one-more", 1)
    assert len(rates._buckets) == 1
