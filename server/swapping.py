"""An index under its name: calls take the version in service, and a newer one replaces it under load.

A new version is opened with a part of the budget (the bridge) while the old one still answers. New
calls go to the bridge at once; when the calls of the old version have ended it is closed, the new
version is opened once more with the whole budget, takes over, and the bridge is closed. So at most the
budget and the bridge's are held at a time by one process, and no call fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from time import monotonic

from pageann.errors import BudgetTooSmall, ServiceUnavailable
from pageann.results import Ledger
from pageann.server.metrics import IndexFigures
from pageann.server.version import OpenOptions, OpenVersion, Signature, open_version, published
from pageann.types import parse_bytes

__all__ = ["OnSwap", "ServedIndex"]

OnSwap = Callable[[str, Exception | None], None]
"""Called with the name of an index, and None or why its new version could not be taken into service."""

_RETRY_SECONDS, _RETRY_SECONDS_MOST = 5.0, 300.0


class ServedIndex:
    """One index of a server. Everything but :meth:`figures` belongs to one event loop."""

    def __init__(
        self, name: str, options: OpenOptions, swap_memory: str, threads: Executor, on_swap: OnSwap
    ) -> None:
        self.name = name
        self._options = options
        self._swap_memory = parse_bytes(swap_memory or "50%", option="swap_memory")
        self._threads = threads
        self._on_swap = on_swap
        self._current: OpenVersion | None = None
        self._draining: list[OpenVersion] = []
        self._gone = {"queries": 0, "reads": 0, "kib": 0.0}
        """Totals of versions that were closed."""
        self._moving = threading.Lock()
        """Held while a version changes its place: figures, read on other threads, count each once."""
        self._swapping = asyncio.Lock()
        self._growing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._tried: Signature | None = None
        self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS
        self._closed = False

    @property
    def serving(self) -> bool:
        """Whether calls are answered."""
        return self._current is not None

    def take(self) -> OpenVersion:
        """The version in service, until :meth:`OpenVersion.let_go`. Raises ServiceUnavailable."""
        version = self._current
        if version is None:
            raise ServiceUnavailable(f"index {self.name} is not open; try again later")
        version.users += 1
        return version

    @property
    def draining_ledger(self) -> Ledger | None:
        """What versions that go out of service hold; None where there are none."""
        draining = list(self._draining)
        if not draining:
            return None
        items = tuple(item for version in draining for item in version.index.ledger.items)
        return Ledger(items, sum(version.index.ledger.budget_bytes for version in draining))

    async def open(self) -> None:
        """Open what is published. Raises what ``pageann.open`` raises."""
        self._current = await self._open(self._options.memory)

    async def _open(self, memory: str | int | None) -> OpenVersion:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, open_version, self._options, memory)

    async def reload(self) -> bool:
        """Take what is published into service; whether it is another version than before.

        Returns when new calls go to it; the old version drains meanwhile. Raises what ``pageann.open``
        raises, and then the old version stays. A caller who is cancelled leaves the swap to end by itself.
        """
        return await asyncio.shield(asyncio.create_task(self._reload()))

    async def _reload(self) -> bool:
        async with self._swapping:
            if self._closed or self._current is None:
                raise ServiceUnavailable(f"index {self.name} is not open; try again later")
            if self._growing is not None:
                await self._growing
            old = self._current
            self._tried = published(self._options.path)
            if self._tried is not None and self._tried == old.signature:
                return False
            try:
                bridge = await self._open_bridge(old)
            except Exception as error:
                self._on_swap(self.name, error)
                raise
            changed = bridge.name != old.name
            self._replace(old, bridge)
            self._growing = asyncio.create_task(self._grow(old, bridge))
            return changed

    async def _open_bridge(self, old: OpenVersion) -> OpenVersion:
        budget = self._swap_memory.resolve(old.index.ledger.budget_bytes)
        try:
            return await self._open(max(budget, 1))
        except BudgetTooSmall as error:
            return await self._open(error.required_bytes)

    def _replace(self, old: OpenVersion, new: OpenVersion | None) -> None:
        """From now on calls go to ``new``."""
        with self._moving:
            self._current = new
            self._draining.append(old)

    async def _grow(self, old: OpenVersion, bridge: OpenVersion) -> None:
        """Once ``old`` has gone, put the same version as ``bridge`` in its place, in the whole budget."""
        await self._retire(old)
        del old  # and its memory, before there is more
        try:
            full = await self._open(self._options.memory)
        except Exception as error:  # such as one published since, and damaged: the bridge goes on
            bridge.signature = None  # so that the next looks try again
            self._put_off()
            self._on_swap(self.name, error)
            return
        self._replace(bridge, full)
        await self._retire(bridge)
        self._on_swap(self.name, None)

    async def _retire(self, version: OpenVersion) -> None:
        """Close a version that was replaced when its calls have ended."""
        await version.drain()
        await asyncio.get_running_loop().run_in_executor(self._threads, version.index.close)
        with self._moving:
            for name, count in version.index.stats().items():
                self._gone[name] += count
            self._draining.remove(version)

    def look(self) -> None:
        """Start a swap if something new was published; one that failed is tried again after a while."""
        if self._looking is not None or self._current is None or self._closed:
            return
        found = published(self._options.path)
        if found is None or found == self._current.signature:
            return
        if found != self._tried:
            self._retry_at, self._retry_seconds = 0.0, _RETRY_SECONDS
        if monotonic() >= self._retry_at:
            self._looking = asyncio.create_task(self._take_up())

    async def _take_up(self) -> None:
        try:
            await self.reload()
        except Exception:  # told by reload
            self._put_off()
        finally:
            self._looking = None

    def _put_off(self) -> None:
        self._retry_at = monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS_MOST)

    async def close(self) -> None:
        """Close all versions once their calls have ended; a swap that runs is waited for."""
        self._closed = True
        async with self._swapping:
            if self._growing is not None:
                await self._growing
            if (current := self._current) is not None:
                self._replace(current, None)
                await self._retire(current)

    def figures(self) -> IndexFigures:
        """Figures of this index; may be called from any thread."""
        with self._moving:
            current, draining = self._current, list(self._draining)
            totals = dict(self._gone)
            for version in ([current] if current else []) + draining:
                for name, count in version.index.stats().items():
                    totals[name] += count
        return IndexFigures(
            name=self.name,
            serving=current is not None,
            queries=int(totals["queries"]),
            reads=int(totals["reads"]),
            kib=totals["kib"],
            resident_bytes=current.index.ledger.total if current else 0,
            draining_bytes=sum(version.index.ledger.total for version in draining),
            budget_bytes=current.index.ledger.budget_bytes if current else 0,
            rows=current.index.rows if current else 0,
        )
