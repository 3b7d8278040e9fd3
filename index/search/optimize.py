"""Pin the pages that a user's queries visit most, where that saves reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument
from pageann.index.builder.progress import Phases, ProgressCallback
from pageann.index.search.explain_steps import SteppedSearch
from pageann.index.search.opened import OpenedIndex, Quality
from pageann.index.search.page_heat import hottest_first
from pageann.index.search.pin_order import read_pin_order, write_pin_order
from pageann.index.search.query_log import checked_log
from pageann.index.segment_files import PINS_FILE
from pageann.revision_reports import OptimizeReport
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files
from pageann.storage.revision import IndexRevision
from pageann.types import ByteSize, format_bytes

__all__ = ["OptimizeOptions", "optimize_index"]

Pages = npt.NDArray[np.int64]
Order = npt.NDArray[np.int32]

_PHASES = ("visits", "publishing")
_MOST_QUERIES = 10_000
_HELD_BACK_EVERY = 5
_INTERVAL = 1.96


@dataclass(frozen=True, slots=True)
class OptimizeOptions:
    """What to optimize for."""

    memory: ByteSize | None
    k: int
    quality: Quality
    threads: int


@dataclass(frozen=True, slots=True)
class _Visits:
    """Which pages each query of the log looks at, and the plan that they were counted for."""

    pages: list[Pages]
    order: Order
    """In which pages are pinned now."""
    pinned: int
    effort: int
    budget_bytes: int

    @property
    def held_back(self) -> list[Pages]:
        """The queries that measure."""
        return self.pages[_HELD_BACK_EVERY - 1 :: _HELD_BACK_EVERY]

    @property
    def counted(self) -> list[Pages]:
        """The queries that decide, for the measurement."""
        return [pages for at, pages in enumerate(self.pages) if (at + 1) % _HELD_BACK_EVERY]

    def reads(self, order: Order) -> npt.NDArray[np.int64]:
        """Pages that each query held back reads while the first of ``order`` are pinned."""
        pins = np.sort(order[: self.pinned])  # pages of copies are never among them
        return np.array([np.isin(pages, pins, invert=True).sum() for pages in self.held_back], np.int64)


def optimize_index(
    path: Path,
    queries: Any,
    options: OptimizeOptions,
    progress: ProgressCallback | None = None,
    files: Files | None = None,
) -> OptimizeReport:
    """Count the pages that ``queries`` visit, and publish an order of pins if it saves reads.

    Raises InvalidArgument, IndexNotFound, IndexLocked, DamagedIndex, FormatTooNew, BudgetTooSmall,
    StorageError or BuildCancelled; the index then stays as it was.
    """
    directory = IndexDirectory(path, files)
    phases = Phases(_PHASES, progress)
    with IndexRevision(directory) as revision:
        values, _ = checked_log(queries, revision.segment, _MOST_QUERIES, "optimize")
        visits = _visits(path, values, options, phases.start("visits"))
        before, after = visits.reads(visits.order), visits.reads(hottest_first(visits.order, visits.counted))
        saved_low, because = _judge(visits, before - after)
        version = revision.manifest.version
        phases.start("publishing")
        if saved_low > 0:
            name = revision.name_of(PINS_FILE)
            order = hottest_first(visits.order, visits.pages)
            entry = write_pin_order(
                directory.files, revision.segment_path / name, order, revision.segment.tag
            )
            version = revision.publish({name: entry}).version
    return OptimizeReport(
        path=str(path),
        version=version,
        published=saved_low > 0,
        because=because,
        queries=len(visits.pages),
        held_back=len(before),
        budget_bytes=visits.budget_bytes,
        pinned_pages=visits.pinned,
        page_count=len(visits.order),
        effort=visits.effort,
        reads_before=float(before.mean()),
        reads_after=float(after.mean()),
        saved_low=saved_low,
    )


def _visits(
    path: Path, queries: npt.NDArray[np.float32], options: OptimizeOptions, done: Callable[[int, int], None]
) -> _Visits:
    """Search for all of ``queries``. Which pages a search looks at does not depend on what is pinned."""
    opened = OpenedIndex.open(path, options.memory, "auto", options.threads)
    try:
        if opened.plan.residence.pinned_pages == 0:
            raise InvalidArgument(
                f"{path}: no page is pinned within {format_bytes(opened.plan.ledger.budget_bytes)}, "
                "so there is nothing to optimize; give more memory"
            )
        call = opened.plan_call(queries, options.k, options.quality, None, 0, None)
        pages: list[Pages] = []
        with opened.stepped(call) as search:
            for query in call.queries:
                pages.append(np.concatenate([np.empty(0, np.int64), *_walked(search, query)]))
                done(len(pages), len(call.queries))
            effort = search.options.size.effort
        folder = opened.path / opened.entry.name
        order = read_pin_order(folder, opened.entry, opened.page_count)
        residence, budget = opened.plan.residence, opened.plan.ledger.budget_bytes
        return _Visits(pages, order, residence.pinned_pages, effort, budget)
    finally:
        opened.close()


def _walked(search: SteppedSearch, query: npt.NDArray[np.float32]) -> Iterator[Pages]:
    """The pages of each round of a query, but for exact records, which are never pinned."""
    search.start(query)
    while not search.done:
        if search.walking:
            yield search.wanted
        search.read()
        search.absorb()


def _judge(visits: _Visits, saved: npt.NDArray[np.int64]) -> tuple[float, str]:
    """(lower end of the interval of the reads saved, what to make of it); publish if above 0."""
    low = float(saved.mean() - _INTERVAL * saved.std() / math.sqrt(len(saved)))
    if visits.pinned >= len(visits.order):
        return 0.0, "all pages are pinned within this budget"
    if low <= 0:
        return min(low, 0.0), "it would not surely save reads; nothing was changed"
    return low, f"it saves {saved.mean():.2f} reads of a query, {low:.2f} at the least"
