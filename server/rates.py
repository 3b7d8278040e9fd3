"""How many queries each key may start in a second: a token bucket a key."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from pageann.errors import Overloaded

__all__ = ["RateLimits"]

_ROUNDING = 1e-6
_CALLERS_MOST = 10_000
"""Buckets that are kept; a key that has been idle for the time its bucket takes to fill needs none."""


class RateLimits:
    """``rate`` tokens a second and ``burst`` at once for each name; a rate of 0 is no limit.

    A batch larger than the burst is served when the bucket is full, and its debt paid off afterwards.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = float(burst or max(rate, 1.0))
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens, and when they were counted."""

    def spend(self, name: str, tokens: int) -> None:
        """Take ``tokens`` of ``name``; Overloaded, with the time until there are enough, if it lacks them."""
        if not self._rate:
            return
        now = self._clock()
        held, counted = self._buckets.get(name, (self._burst, now))
        held = min(self._burst, held + (now - counted) * self._rate)
        missing = min(float(tokens), self._burst) - held
        if missing > _ROUNDING:
            raise Overloaded(
                f"more than the {self._rate:g} queries a second that this key may send; slow down",
                missing / self._rate,
            )
        if len(self._buckets) >= _CALLERS_MOST and name not in self._buckets:
            self._forget_full(now)
        self._buckets[name] = (held - tokens, now)

    def _forget_full(self, now: float) -> None:
        self._buckets = {
            name: (held, counted)
            for name, (held, counted) in self._buckets.items()
            if held + (now - counted) * self._rate < self._burst
        }
