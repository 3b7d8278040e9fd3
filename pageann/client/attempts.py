"""When to try a failed call again, and until when."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from pageann.errors import InvalidArgument

__all__ = ["Attempts", "RetryPolicy"]

_MOST_RETRIES = 100


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after how long, a call is tried again while nobody answers.

    Pauses double from ``first_seconds`` to ``most_seconds``; each is cut by a random share of up to a
    half, so that clients which failed together do not come back together.
    """

    retries: int = 3
    first_seconds: float = 0.1
    most_seconds: float = 2.0
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        retries: Any = self.retries
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= _MOST_RETRIES:
            raise InvalidArgument(f"retries={retries!r}: give a number from 0 to {_MOST_RETRIES}")

    def begin(self, timeout: float | None) -> Attempts:
        """The attempts of a call that must end within ``timeout`` seconds. Raises InvalidArgument."""
        return Attempts(self, require_timeout(timeout))

    def pause_seconds(self, tries: int) -> float:
        """The pause after so many tries, from 1 on."""
        longest = min(self.most_seconds, self.first_seconds * 2.0 ** (tries - 1))
        return longest * (1.0 - 0.5 * self.random())


def require_timeout(timeout: Any) -> float | None:
    """``timeout`` if it is a number of seconds above 0, or None."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise InvalidArgument(f"timeout={timeout!r}: give seconds above 0, or None")
    return None if math.isinf(timeout) else float(timeout)


class Attempts:
    """The tries of one call, all of its parts together."""

    def __init__(self, policy: RetryPolicy, timeout: float | None) -> None:
        self._policy = policy
        self._ends = None if timeout is None else policy.clock() + timeout
        self._tries = 0

    def seconds_left(self) -> float | None:
        """The timeout of the next try; None: no limit."""
        return None if self._ends is None else max(0.0, self._ends - self._policy.clock())

    def succeeded(self) -> None:
        """A part has been answered; the next one has all its tries before it."""
        self._tries = 0

    def pause_after(self, failed: grpc.RpcError) -> float | None:
        """Seconds to wait before the next try; None if there should be none.

        Only UNAVAILABLE is worth one: nobody answers there, and another try may find somebody. A
        pause that outlasts the timeout is not begun.
        """
        self._tries += 1
        if failed.code() is not grpc.StatusCode.UNAVAILABLE or self._tries > self._policy.retries:
            return None
        pause = self._policy.pause_seconds(self._tries)
        left = self.seconds_left()
        return None if left is not None and pause >= left else pause
