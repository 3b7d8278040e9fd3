"""Start workers, wait for them with a limit, and say in words how they ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pageann.bench.peers.worker import READY

__all__ = ["PeerFailure", "run_worker"]

_WORDS_SHOWN = 300


class PeerFailure(Exception):
    """A system did not do what it was asked; the message is the reason, in one line."""


@dataclass(slots=True)
class _Watch:
    """Ends a process that takes too long, and remembers that it did."""

    process: subprocess.Popen[str]
    late: bool = False

    def strike(self) -> None:
        """The time is over."""
        self.late = True
        self.process.kill()


def run_worker(
    task: dict[str, Any], seconds: float, *, when_ready: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """The result of ``task`` from a process of its own.

    ``when_ready`` is called with its process id when it waits before a search. Raises PeerFailure where it
    fails, is killed, or is not done after ``seconds``; it has ended in any case.
    """
    with tempfile.TemporaryDirectory(prefix="pageann-compare-") as name:
        folder = Path(name)
        task = {**task, "result": str(folder / "result.json")}
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        with open(folder / "errors", "w+", encoding="utf-8", errors="replace") as errors:
            late, code = _finished(folder / "task.json", seconds, errors, when_ready)
            if late:
                raise PeerFailure(f"did not finish within {seconds:g} s")
            if code != 0:
                errors.seek(0)
                raise PeerFailure(_reason(code, errors.read()))
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return result


def _finished(
    task: Path, seconds: float, errors: Any, when_ready: Callable[[int], None] | None
) -> tuple[bool, int]:
    """``(whether it was stopped for being late, its exit code)``."""
    command = [sys.executable, "-m", "pageann.bench.peers.worker", str(task)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace"
    )
    watch = _Watch(process)
    timer = threading.Timer(seconds, watch.strike)
    timer.start()
    try:
        _attend(process, when_ready)
        code = process.wait()
        return watch.late, code
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def _attend(process: subprocess.Popen[str], when_ready: Callable[[int], None] | None) -> None:
    """Let a worker that is ready go on, and read what it says until it ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == READY:
            if when_ready is not None:
                when_ready(process.pid)
            with suppress(BrokenPipeError):  # it has ended meanwhile; its exit code tells why
                process.stdin.write("\n")
                process.stdin.flush()


def _reason(code: int, errors: str) -> str:
    if code == -signal.SIGKILL:
        return "killed by the system: out of the memory allowed"
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return (lines[-1] if lines else f"ended with code {code}")[:_WORDS_SHOWN]
