"""Who may use the memory of queries in flight: everybody within a share of it, or one call alone with all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Turns"]


class Turns:
    """Shared and exclusive turns, in the order of asking: who waits for all of it lets nobody pass."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._arrived = 0
        self._admitted = 0
        self._keepers: list[Callable[[], None]] = []

    def keep(self, free: Callable[[], None]) -> None:
        """Have ``free`` called, by any thread, before each exclusive turn: to give back what is kept."""
        with self._changed:
            self._keepers.append(free)

    @property
    def awaited(self) -> bool:
        """Whether someone waits for a turn, which those who share this one should bring about."""
        return self._admitted < self._arrived

    @contextmanager
    def shared(self) -> Iterator[None]:
        """A turn beside others."""
        with self._changed:
            self._queue_up(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A turn beside no other, with all that others keep given back."""
        with self._changed:
            self._queue_up(lambda: not self._alone and self._sharing == 0)
            self._alone = True
            for free in self._keepers:
                free()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def _queue_up(self, admissible: Callable[[], bool]) -> None:
        """Wait until all who came before are admitted and this one may be; the lock is held."""
        number = self._arrived
        self._arrived += 1
        self._changed.wait_for(lambda: self._admitted == number and admissible())
        self._admitted += 1
        self._changed.notify_all()
