"""Calls that read files of an index beside the engine, and what a close owes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from pageann.index.search.calls import closed_engine
from pageann.storage.io import fork

__all__ = ["Lease", "Visits"]


class Visits:
    """Counts calls that are inside; after :meth:`close` none comes in, and all that were have left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self._made_in = fork.generation()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Keep the files open while the block lasts; IndexClosed after :meth:`close`."""
        with self._changed:
            if self._closed:
                raise closed_engine()
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait for those inside; a forked child has none of them."""
        with self._changed:
            self._closed = True
            while self._inside and self._made_in == fork.generation():
                self._changed.wait()


class Lease:
    """Something that is closed once its owner has given it up and nobody uses it any more.

    For users that a close cannot wait for, since they may be coroutines of the thread that closes.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._users = 0
        self._given_up = False
        self._made_in = fork.generation()

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._users -= 1
            is_last = self._given_up and self._users == 0
        if is_last:
            self._close()

    def give_up(self) -> None:
        """Close it now, or leave that to its last user; a forked child has none of them."""
        with self._lock:
            self._given_up = True
            is_unused = self._users == 0 or self._made_in != fork.generation()
        if is_unused:
            self._close()
