"""Counts that one thread keeps and any thread reads: plain numbers, without a lock a call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf

__all__ = ["Tally"]


class Tally:
    """How many values fell at or below each of ``bounds``, and their sum: a histogram of Prometheus."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``, which is no NaN: a sum that has met one stays one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """((bound, how many values up to it) in ascending order, the sum)."""
        counts, total = list(self._counts), self._sum
        so_far = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip(self._bounds, counts, strict=True):
            so_far += count
            found.append(("+Inf" if bound == inf else repr(bound), float(so_far)))
        return found, total
