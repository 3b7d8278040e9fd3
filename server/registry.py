"""The indexes of a server by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pageann.errors import IndexNotFound, InvalidArgument
from pageann.server.config import IndexConfig, ServerConfig
from pageann.server.metrics import IndexFigures
from pageann.server.swapping import OnSwap, ServedIndex
from pageann.server.version import OpenOptions

__all__ = ["Registry"]

OnHealth = Callable[[str, bool], Awaitable[None]]
"""Called with the name of an index and whether it answers."""


class Registry:
    """All indexes. Belongs to one event loop; opening and closing happen on threads of its own."""

    def __init__(
        self, config: ServerConfig, on_health: OnHealth, on_swap: OnSwap, shared: str | None = None
    ) -> None:
        # An index may close, waiting for its last reads, while another opens.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pageann-open")
        self._on_health = on_health
        self._served = {
            index.name: ServedIndex(
                index.name, _options(index, config, shared), config.swap_memory, self._threads, on_swap
            )
            for index in config.indexes
        }
        self._only = next(iter(self._served.values())) if len(self._served) == 1 else None

    async def open(self) -> None:
        """Open every index, one after another; raises what ``pageann.open`` raises for the first failure."""
        for served in self._served.values():
            await served.open()
            await self._on_health(served.name, True)

    def find(self, name: str) -> ServedIndex:
        """The index called ``name``; with an empty name the only one there is."""
        if not name:
            if self._only is None:
                raise InvalidArgument(f"index is empty, and this server has {len(self._served)}; name one")
            return self._only
        try:
            return self._served[name]
        except KeyError:
            raise IndexNotFound(f"this server has no index {name[:64]!r}; ListIndexes names them") from None

    def __iter__(self) -> Iterator[ServedIndex]:
        return iter(self._served.values())

    def figures(self) -> Sequence[IndexFigures]:
        """Figures of all indexes; may be called from any thread."""
        return [served.figures() for served in self._served.values()]

    def look_for_versions(self) -> None:
        """Start taking into service what builds have published since the last look."""
        for served in self._served.values():
            served.look()

    async def close(self) -> None:
        """Close every index once its calls have ended."""
        for served in self._served.values():
            await self._on_health(served.name, False)
        await asyncio.gather(*(served.close() for served in self._served.values()))
        self._threads.shutdown(wait=False)


def _options(index: IndexConfig, config: ServerConfig, shared: str | None) -> OpenOptions:
    memory = index.memory or config.memory or None
    return OpenOptions(index.path, memory, config.io, config.threads or None, shared)
