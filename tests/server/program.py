"""``pageann serve`` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.server.serving import SECONDS


class Served:
    """The program with ``arguments``; what it says on stderr is kept in ``lines``."""

    def __init__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "pageann", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until so many lines match; the last of them."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._said:
            heard = self._said.wait_for(lambda: len(found()) >= times, SECONDS)
        assert heard, f"never said {pattern}: {self.lines}"
        return found()[times - 1]

    def address(self) -> str:
        """Where it listens, once it does."""
        return self.says(r"listening on (\S+)")[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        self._listener.join(SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
