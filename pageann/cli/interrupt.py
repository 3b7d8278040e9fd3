"""Ctrl-C during a long task: the first one asks the task to stop cleanly, a second one stops it at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from pageann.cli.output import talk

__all__ = ["StopRequest", "stop_on_interrupt"]


class StopRequest:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        talk("stopping; nothing will be published (Ctrl-C again stops at once)")


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Inside, SIGINT sets ``asked`` of the object given; afterwards it is as before."""
    request = StopRequest()
    before = signal.signal(signal.SIGINT, request)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)
