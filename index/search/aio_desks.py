"""Desks that coroutines of any event loop take in turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pageann.index.search.calls import closed_engine
from pageann.index.search.desks import DeskMemory

__all__ = ["AioDesks"]

_LOOK_SECONDS = 0.1
"""How often a closing engine looks whether loops that have a desk were closed without giving it back."""

Turn = asyncio.Future[DeskMemory]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has a desk, and how much memory it may take there."""

    loop: asyncio.AbstractEventLoop
    nbytes: int


class AioDesks:
    """A bounded number of desks and of bytes, handed out in the order of asking.

    ``scratch_bytes`` bounds the memory of all desks, be they in use or free (0: no bound). One that
    asks for more than that gets a desk when it is the only one.
    """

    def __init__(self, desks: Sequence[DeskMemory], scratch_bytes: int = 0) -> None:
        self._free = list(desks)
        self._scratch_bytes = scratch_bytes
        self._used_bytes = 0
        self._holders: dict[DeskMemory, _Holder] = {}
        self._waiting: deque[tuple[Turn, int]] = deque()
        # Re-entrant: the collector may end a forgotten coroutine, which gives back its desk, in here.
        self._lock = threading.RLock()
        self._returned = threading.Condition(self._lock)
        self._closed = False

    async def take(self, nbytes: int) -> DeskMemory:
        """A desk for a workspace of ``nbytes``, until :meth:`give_back`; IndexClosed after :meth:`close`."""
        turn: Turn = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise closed_engine()
            self._waiting.append((turn, nbytes))
            self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            with self._lock:
                if (turn, nbytes) in self._waiting:
                    self._waiting.remove((turn, nbytes))
                    self._hand_out()  # others may have waited behind this one
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            raise

    def give_back(self, desk: DeskMemory) -> None:
        """Pass the desk on to who waits longest."""
        with self._lock:
            self._used_bytes -= self._holders.pop(desk).nbytes
            self._free.append(desk)
            self._hand_out()
            self._returned.notify_all()

    def _hand_out(self) -> None:
        """Give free desks to those who wait, while there is memory for them; the lock is held."""
        while self._waiting and self._free:
            turn, nbytes = self._waiting.popleft()
            if self._used_bytes > 0 and not self._fits(nbytes):
                self._waiting.appendleft((turn, nbytes))
                return
            desk = self._take_free(nbytes)
            loop = turn.get_loop()
            try:
                loop.call_soon_threadsafe(self._hand_over, turn, desk)
            except RuntimeError:  # a loop that was closed waits for nothing
                self._free.append(desk)
                continue
            self._holders[desk] = _Holder(loop, nbytes)
            self._used_bytes += nbytes

    def _fits(self, nbytes: int) -> bool:
        return self._scratch_bytes == 0 or self._used_bytes + nbytes <= self._scratch_bytes

    def _take_free(self, nbytes: int) -> DeskMemory:
        """A free desk, if possible one whose memory serves again; memory of others is freed as needed."""
        place = next((i for i, one in enumerate(self._free) if one.held_bytes == nbytes), -1)
        desk = self._free.pop(place)
        kept_bytes = sum(one.held_bytes for one in self._free)
        for one in self._free:
            if self._fits(nbytes + kept_bytes):
                break
            kept_bytes -= one.held_bytes
            one.close()
        return desk

    def _hand_over(self, turn: Turn, desk: DeskMemory) -> None:
        if turn.cancelled():
            self.give_back(desk)
        else:
            turn.set_result(desk)

    def close(self) -> None:
        """Hand out no more, wait for those in use, and free their memory.

        Not waited for, nor freed, are desks of the event loop that this is called from: it would
        wait for itself, so who waits behind it is refused; and those that a closed event loop has kept.
        """
        try:
            own = asyncio.get_running_loop()
        except RuntimeError:
            own = None
        with self._lock:
            self._closed = True
            if any(holder.loop is own for holder in self._holders.values()):
                self._refuse_waiting()
            while any(self._is_awaited(holder.loop, own) for holder in self._holders.values()):
                self._returned.wait(_LOOK_SECONDS)
            free, self._free = self._free, []
        for desk in free:
            desk.close()

    def _refuse_waiting(self) -> None:
        while self._waiting:
            turn, _ = self._waiting.popleft()
            with contextlib.suppress(RuntimeError):
                turn.get_loop().call_soon_threadsafe(_refuse, turn)

    @staticmethod
    def _is_awaited(loop: asyncio.AbstractEventLoop, own: asyncio.AbstractEventLoop | None) -> bool:
        return loop is not own and not loop.is_closed()


def _refuse(turn: Turn) -> None:
    if not turn.done():
        turn.set_exception(closed_engine())
