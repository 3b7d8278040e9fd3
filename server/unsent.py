"""Answers whose readers are slow: how many bytes of them there are, and for how long.

gRPC holds an answer until its reader has taken it. We drop those that wait too long, keep count of the
large ones, and refuse more of these where too much waits. Small ones are bounded by the number of calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import takewhile
from time import monotonic
from typing import Any

from pageann.errors import Overloaded

__all__ = ["LARGE_BYTES", "Unsent"]

LARGE_BYTES = 64 << 10
"""What HTTP/2 sends without waiting for its reader."""


class Unsent:
    """At most ``most_bytes`` of large answers; any answer waits for at most ``seconds``."""

    def __init__(self, most_bytes: int, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._waiting: dict[object, tuple[int, float, asyncio.Task[Any]]] = {}
        """By the context of the call, oldest first: (bytes, since when, the task to end)."""
        self.bytes = 0
        """Bytes of large answers that are being sent."""

    def require_room(self, nbytes: int) -> None:
        """Overloaded if an answer of ``nbytes`` is large and there is no room for it."""
        if nbytes >= LARGE_BYTES and self.bytes and self.bytes + nbytes > self._most_bytes:
            raise Overloaded("too many large answers wait for slow readers; try again later", self._seconds)

    def hand_over(self, nbytes: int, context: object) -> None:
        """Keep count of an answer, which the running task is about to return, until :meth:`sent`."""
        task = asyncio.current_task()
        if task is None:
            return
        counted = nbytes if nbytes >= LARGE_BYTES else 0
        self._waiting[context] = (counted, self._clock(), task)
        self.bytes += counted

    def sent(self, context: object) -> None:
        """The call of ``context`` has ended, with its answer or without."""
        waiting = self._waiting.pop(context, None)
        if waiting is not None:
            self.bytes -= waiting[0]

    @contextlib.asynccontextmanager
    async def sending(self, nbytes: int) -> AsyncIterator[None]:
        """Keep count of an answer of a stream while it is written; TimeoutError if that takes too long."""
        counted = nbytes if nbytes >= LARGE_BYTES else 0
        self.bytes += counted
        try:
            async with asyncio.timeout(self._seconds):
                yield
        finally:
            self.bytes -= counted

    def drop_late(self) -> int:
        """End the calls whose answers have waited too long; how many."""
        now = self._clock()
        by_age = self._waiting.items()
        late = [
            (context, task)
            for context, (_, _, task) in takewhile(lambda item: now - item[1][1] > self._seconds, by_age)
        ]
        for context, task in late:
            task.cancel()
            self.sent(context)
        return len(late)
