"""End what still works for an engine when the interpreter does."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

__all__ = ["Endable", "end_at_exit"]


class Endable(Protocol):
    """Something with threads."""

    def end(self) -> None:
        """Cut short what runs and end the threads."""
        ...


_alive: weakref.WeakSet[Endable] = weakref.WeakSet()


def end_at_exit(crew: Endable) -> None:
    """Have ``crew.end()`` called before the interpreter ends, while the crew lives."""
    _alive.add(crew)


@atexit.register
def _end_all() -> None:
    # A thread in a kernel, or on its way back into Python, must not meet an interpreter that is gone.
    for crew in list(_alive):
        crew.end()
