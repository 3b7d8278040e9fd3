"""What a benchmark is asked to measure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["COLD", "TASKS", "THREADS", "WARM", "BenchOptions", "Load", "Opening", "Target"]

WARM, COLD = "warm", "cold"
THREADS, TASKS = "threads", "tasks"


@dataclass(frozen=True, slots=True)
class Target:
    """How well the queries of one run are to be answered: by recall or by effort, one of which is None."""

    recall: float | None
    effort: int | None

    @property
    def label(self) -> str:
        """``recall 0.95`` or ``effort 40``."""
        return f"recall {self.recall:g}" if self.recall is not None else f"effort {self.effort}"


@dataclass(frozen=True, slots=True)
class Load:
    """How queries arrive."""

    concurrency: int
    """Clients, each with one call in flight."""
    rate: float | None = None
    """Queries a second that arrive whether or not earlier ones are answered; None: a closed loop."""
    clients: str = THREADS
    """``threads``: each a thread that blocks; ``tasks``: all coroutines of one event loop."""

    @property
    def label(self) -> str:
        """``8 clients`` or ``8 clients (tasks), 500 queries/s``."""
        kind = "" if self.clients == THREADS else f" ({self.clients})"
        clients = f"{self.concurrency} clients{kind}"
        return clients if self.rate is None else f"{clients}, {self.rate:g} queries/s"


@dataclass(frozen=True, slots=True)
class Opening:
    """How the index is opened for a run."""

    memory: str | None
    """The budget as it was written; None is the one built for."""
    threads: int | None
    start: str = WARM
    """``warm``: after a warm-up; ``cold``: just opened, its files dropped from the page cache."""

    @property
    def label(self) -> str:
        """``memory 30%``, and what else is not as usual."""
        parts = [f"memory {self.memory or 'as built'}"]
        if self.threads is not None:
            parts.append(f"{self.threads} threads")
        if self.start == COLD:
            parts.append(COLD)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of ``pageann bench``; see there."""

    index: str
    queries: str
    truth: str
    k: int = 10
    efforts: tuple[int, ...] = ()
    recalls: tuple[float, ...] = ()
    """Used where ``efforts`` is empty; 0.95 where this is empty too."""
    memories: tuple[str, ...] = ()
    """Budgets to open the index with, one after the other; empty is the budget built for."""
    threads: tuple[int, ...] = ()
    """Numbers of threads to search with; empty is every core allowed."""
    starts: tuple[str, ...] = (WARM,)
    concurrencies: tuple[int, ...] = (1,)
    rates: tuple[float | None, ...] = (None,)
    clients: tuple[str, ...] = (THREADS,)
    repeats: int = 1
    batch: int = 1
    """Queries of one call."""
    limit: int | None = None
    groups: str | None = None
    seed: int = 0
    io: str = "auto"
    column: str | None = None
    dataset: str | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The efforts, or else the recalls, to run with."""
        if self.efforts:
            return tuple(Target(None, effort) for effort in self.efforts)
        return tuple(Target(recall, None) for recall in self.recalls or (0.95,))

    @property
    def loads(self) -> tuple[Load, ...]:
        """Every number of clients of every kind with every rate."""
        return tuple(Load(*one) for one in itertools.product(self.concurrencies, self.rates, self.clients))

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every budget with every number of threads, warm and cold."""
        return tuple(
            Opening(*one)
            for one in itertools.product(self.memories or (None,), self.threads or (None,), self.starts)
        )

    def sessions(self) -> Iterator[tuple[Opening, tuple[tuple[Target, Load], ...]]]:
        """Each opening of the index and the runs made on it; a cold start serves one run only."""
        runs = tuple(itertools.product(self.targets, self.loads))
        for opening in self.openings:
            if opening.start == COLD:
                yield from ((opening, (run,)) for run in runs)
            else:
                yield opening, runs
