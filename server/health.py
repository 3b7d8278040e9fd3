"""The standard health service: "" for the whole server, the service's name, and the name of each index."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer  # type: ignore[import-untyped, unused-ignore]

__all__ = ["Health"]

_Status = health_pb2.HealthCheckResponse


class Health(HealthServicer):  # type: ignore[misc, unused-ignore]
    """Begins with nothing serving. Watchers are let go when the server goes down, and do not hold it up."""

    def __init__(self, service_name: str) -> None:
        super().__init__()
        self._whole = ("", service_name)
        self._states: dict[str, bool] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._ended = False

    async def begin(self, indexes: list[str]) -> None:
        """Say of everything that it does not serve yet."""
        self._states = dict.fromkeys(indexes, False)
        for name in (*self._whole, *indexes):
            await self.set(name, _Status.NOT_SERVING)

    async def note(self, index: str, serving: bool) -> None:
        """An index answers now, or does not any more; the server serves when all of them do."""
        self._states[index] = serving
        await self.set(index, _Status.SERVING if serving else _Status.NOT_SERVING)
        whole = _Status.SERVING if all(self._states.values()) else _Status.NOT_SERVING
        for name in self._whole:
            await self.set(name, whole)

    async def Watch(self, request: Any, context: Any) -> None:
        """Tell every change of state, until the server goes down."""
        watching = asyncio.create_task(super().Watch(request, context))
        self._watching.add(watching)
        try:
            await asyncio.wait([watching])
            if not self._ended:
                watching.result()
        finally:
            watching.cancel()
            self._watching.discard(watching)

    def end(self) -> None:
        """Let watchers go."""
        self._ended = True
        for watching in self._watching:
            watching.cancel()
