"""How many calls are at work, and how many wait: a gate with a bounded queue, first come first served."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from math import isinf

from pageann.errors import DeadlineUnserved, Overloaded

__all__ = ["Gate"]

_SMOOTHING = 0.05
"""Weight of the latest call in the mean time at work."""


class Gate:
    """Lets ``concurrency`` calls in at a time; up to ``queue`` more wait. Belongs to one event loop."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_seconds = 0.0

    @property
    def inside(self) -> int:
        """Calls at work."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Go in if nobody has to wait."""
        if self._inside < self._concurrency and not self._waiting:
            self._inside += 1
            return True
        return False

    async def enter(self, seconds: float) -> None:
        """Wait for one's turn, at most ``seconds``. A cancelled call leaves the queue.

        Raises Overloaded, at once, if the queue is full or the turn would come too late, and
        DeadlineUnserved if it has.
        """
        if self.try_enter():
            return
        expected = self._expected_seconds()
        if len(self._waiting) >= self._queue:
            raise Overloaded("the queue of the server is full; try again later", expected)
        if expected > seconds:
            raise Overloaded("the queue is longer than the deadline allows; try again later", expected)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(None if isinf(seconds) else seconds):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise DeadlineUnserved("the deadline passed while the call waited for its turn") from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._pass_on()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _expected_seconds(self) -> float:
        return self._mean_seconds * (len(self._waiting) + 1) / self._concurrency

    def leave(self, started: float) -> None:
        """Go out; ``started`` is ``time.monotonic()`` when this call came in."""
        self._mean_seconds += _SMOOTHING * (time.monotonic() - started - self._mean_seconds)
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the place to who has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1
