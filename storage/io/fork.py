"""What a fork means for drivers: said once, here.

A child process inherits neither the threads of a pool nor the right to use a ring, and the memory
of a ring is shared with its parent. So a driver belongs to the process that made it: a use in a
child is refused with a typed error, and what a child must let go of is let go of at the fork.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from pageann.errors import IndexClosed

__all__ = ["Abandonable", "generation", "let_go_at_fork", "require_same_process"]


class Abandonable(Protocol):
    """Something that a child process must let go of."""

    def abandon(self) -> None:
        """Called in the child, right after the fork; must not raise."""


_generation = 0
_held: weakref.WeakSet[Abandonable] = weakref.WeakSet()


def generation() -> int:
    """A number that is another one in every forked child."""
    return _generation


def require_same_process(made_in: int, what: str) -> None:
    """Raise IndexClosed if ``made_in``, the :func:`generation` at creation, is not this process's."""
    if made_in != _generation:
        raise IndexClosed(
            f"{what} was opened before this process was forked; open the index again in the child"
        )


def let_go_at_fork(resource: Abandonable) -> None:
    """Have ``resource.abandon()`` called in every child forked while the resource lives."""
    _held.add(resource)


def _after_fork_in_child() -> None:
    global _generation
    _generation += 1
    for resource in list(_held):
        resource.abandon()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
