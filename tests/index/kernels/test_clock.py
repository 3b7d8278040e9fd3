"""Deadlines come from Python's monotonic clock; kernels must read the same one."""

from __future__ import annotations

import time

from pageann.index.kernels.clock import now_ns


def test_it_is_the_monotonic_clock_of_python() -> None:
    now_ns()
    for _ in range(100):
        before = time.monotonic_ns()
        now = now_ns()
        after = time.monotonic_ns()
        assert before <= now <= after
