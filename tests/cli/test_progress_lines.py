"""Progress is quiet in a log and complete on a terminal.

Guarded: a log file with thousands of lines, a phase that is never named, percentages of an unknown total.
"""

from __future__ import annotations

import io
import math

from pageann.cli.progress import PlainProgress, plain_line, progress_on
from pageann.results import Progress


def event(number: int, done: int = 0, total: int = 100, rate: float = 0.0, eta: float = math.inf) -> Progress:
    return Progress(f"phase {number}", number, 3, done, total, rate, eta, 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_a_phase_and_one_every_five_seconds() -> None:
    seconds = [0.0]
    stream = io.StringIO()
    draw = PlainProgress(stream, clock=lambda: seconds[0])
    for tick in range(200):
        seconds[0] = tick / 10
        draw(event(1 if tick < 120 else 2, done=tick))
    assert [line.split("] ")[1] for line in stream.getvalue().splitlines()] == [
        "phase 1",
        "phase 1 50%",
        "phase 1 100%",
        "phase 2 120%",
        "phase 2 170%",
    ]


def test_what_is_not_known_is_not_said() -> None:
    assert plain_line(event(1)) == "[1/3] phase 1"
    assert plain_line(event(1, done=10, total=0, rate=0.5)) == "[1/3] phase 1 0.50/s"
    assert plain_line(event(1, done=100, rate=50.0, eta=0.0)) == "[1/3] phase 1 100% 50/s"
    assert plain_line(event(1, done=10, rate=2000.0, eta=45.0)) == "[1/3] phase 1 10% 2,000/s, 45 s left"


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end() -> None:
    terminal = Terminal()
    with progress_on(terminal) as draw:
        draw(event(2, done=50, rate=1234.0))
    shown = terminal.getvalue()
    assert "[2/3] phase 2" in shown
    assert "1,234/s" in shown
    assert shown.rstrip("\n").endswith("\x1b[2K")


def test_a_pipe_gets_plain_lines() -> None:
    pipe = io.StringIO()
    with progress_on(pipe) as draw:
        draw(event(1))
    assert pipe.getvalue() == "pageann: [1/3] phase 1\n"
