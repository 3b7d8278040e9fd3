"""Both clients with one face, that of the library's index: methods that block, and ``asearch``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pageann.client import AsyncClient, Client
from pageann.results import Ledger

__all__ = ["KINDS", "AsyncDoor", "SyncDoor", "door"]

T = TypeVar("T")
KINDS = ("client", "async-client")


class SyncDoor(Client):
    """The client for threads, with ``asearch`` as in the library."""

    async def asearch(self, *queries: Any, **options: Any) -> Any:
        """A search that does not block the loop."""
        return await asyncio.to_thread(self.search, *queries, **options)


class AsyncDoor:
    """The client for coroutines, its event loop in a thread of its own."""

    def __init__(self, *target: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="client-loop", daemon=True)
        self._thread.start()
        self._client = AsyncClient(*target, **options)
        self._closed = False

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def search(self, *queries: Any, **options: Any) -> Any:
        return self.wait(self._client.search(*queries, **options))

    async def asearch(self, *queries: Any, **options: Any) -> Any:
        work = asyncio.run_coroutine_threadsafe(self._client.search(*queries, **options), self._loop)
        return await asyncio.wrap_future(work)

    def get(self, ids: Any, **options: Any) -> NDArray[Any]:
        return self.wait(self._client.get(ids, **options))

    def explain(self, *query: Any, **options: Any) -> Any:
        return self.wait(self._client.explain(*query, **options))

    def info(self) -> Any:
        return self.wait(self._client.info())

    def describe(self) -> dict[str, Any]:
        return self.wait(self._client.describe())

    def list_indexes(self) -> Any:
        return self.wait(self._client.list_indexes())

    def reload(self) -> bool:
        return self.wait(self._client.reload())

    @property
    def rows(self) -> int:
        return int(self.info().rows)

    @property
    def dim(self) -> int:
        return int(self.info().dim)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        found: np.dtype[Any] | None = self.info().dtype
        return found

    @property
    def metric(self) -> str:
        return str(self.info().metric)

    @property
    def ledger(self) -> Ledger:
        found: Ledger = self.info().ledger
        return found

    def __len__(self) -> int:
        return self.rows

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def door(kind: str, *target: Any, **options: Any) -> Any:
    """A client of ``kind``, one of :data:`KINDS`."""
    return (SyncDoor if kind == "client" else AsyncDoor)(*target, **options)
