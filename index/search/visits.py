"""Calls that read files of an index beside the engine, and a close that waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pageann.index.search.call_queue import closed_engine
from pageann.storage.io import fork

__all__ = ["Visits"]


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
