"""Progress of a build on stderr: a bar of the whole build on a terminal, a line a phase elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from pageann.results import Progress

__all__ = ["PlainProgress", "progress_on"]

_QUIET_SECONDS = 5.0

Draw = Callable[["Progress"], None]


class PlainProgress:
    """Writes one line when a phase begins, and then at most one every five seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._phase_number = 0
        self._due_seconds = 0.0

    def __call__(self, event: Progress) -> None:
        """Show ``event``, if its time has come."""
        now = self._clock()
        if event.phase_number == self._phase_number and now < self._due_seconds:
            return
        self._phase_number = event.phase_number
        self._due_seconds = now + _QUIET_SECONDS
        print(f"pageann: {plain_line(event)}", file=self._stream, flush=True)


def plain_line(event: Progress) -> str:
    """``[2/7] partition 45% 120,000/s, 3 s left``, without what is not known."""
    parts = [f"[{event.phase_number}/{event.phase_count}] {event.phase}"]
    if event.total > 0 and event.done > 0:
        parts.append(f"{event.done / event.total:.0%}")
    pace = _pace(event)
    return " ".join([*parts, pace] if pace else parts)


def _pace(event: Progress) -> str:
    known = []
    if event.rate_per_second > 0:
        digits = 0 if event.rate_per_second >= 10 else 2
        known.append(f"{event.rate_per_second:,.{digits}f}/s")
    if 0 < event.done != event.total and math.isfinite(event.eta_seconds):
        known.append(f"{event.eta_seconds:.0f} s left")
    return ", ".join(known)


@contextlib.contextmanager
def progress_on(stream: TextIO | None = None) -> Iterator[Draw]:
    """A callback that draws on ``stream`` (default: stderr) while the context lasts."""
    target = stream or sys.stderr
    if not target.isatty():
        yield PlainProgress(target)
        return
    with _bar_on(target) as draw:
        yield draw


@contextlib.contextmanager
def _bar_on(stream: TextIO) -> Iterator[Draw]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting", total=None, pace="")
        yield lambda event: _update(bar, task, event)


def _update(bar: Bar, task: TaskID, event: Progress) -> None:
    bar.update(
        task,
        description=f"[{event.phase_number}/{event.phase_count}] {event.phase}",
        completed=event.fraction or event.done / max(1, event.total),
        total=1.0 if event.fraction or event.total else None,
        pace=_pace(event),
    )
