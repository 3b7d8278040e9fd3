"""Desks that coroutines of any event loop take in turn."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

from pageann.index.search.call_queue import closed_engine
from pageann.index.search.desks import DeskMemory

__all__ = ["AioDesks"]

_LOOK_SECONDS = 0.1
"""How often a closing engine looks whether loops that have a desk were closed without giving it back."""

Turn = asyncio.Future[DeskMemory]


class AioDesks:
    """A bounded number of desks, handed out in the order of asking."""

    def __init__(self, desks: Sequence[DeskMemory]) -> None:
        self._desks = tuple(desks)
        self._free = list(desks)
        self._holders: dict[DeskMemory, asyncio.AbstractEventLoop] = {}
        self._waiting: deque[Turn] = deque()
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)
        self._closed = False

    async def take(self) -> DeskMemory:
        """A desk of one's own, until :meth:`give_back`; IndexClosed after :meth:`close`."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise closed_engine()
            if self._free:
                desk = self._free.pop()
                self._holders[desk] = loop
                return desk
            turn: Turn = loop.create_future()
            self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            raise

    def give_back(self, desk: DeskMemory) -> None:
        """Pass the desk on to who waits longest."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                loop = turn.get_loop()
                try:
                    loop.call_soon_threadsafe(self._hand_over, turn, desk)
                except RuntimeError:  # a loop that was closed waits for nothing
                    continue
                self._holders[desk] = loop
                return
            del self._holders[desk]
            self._free.append(desk)
            self._returned.notify_all()

    def _hand_over(self, turn: Turn, desk: DeskMemory) -> None:
        if turn.cancelled():
            self.give_back(desk)
        else:
            turn.set_result(desk)

    def close(self) -> None:
        """Hand out no more, wait for those in use, and free their memory.

        Not waited for, nor freed, are desks of the event loop that this is called from: it would
        wait for itself; and those that a closed event loop has kept.
        """
        try:
            own = asyncio.get_running_loop()
        except RuntimeError:
            own = None
        with self._lock:
            self._closed = True
            while any(loop is not own and not loop.is_closed() for loop in self._holders.values()):
                self._returned.wait(_LOOK_SECONDS)
            free, self._free = self._free, []
        for desk in free:
            desk.close()
