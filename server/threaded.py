"""A server in a thread of its own, for programs and tests without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self

from pageann.server.config import ServerConfig
from pageann.server.run import RunningServer, start

__all__ = ["ServerThread", "serve_in_thread"]


class ServerThread:
    """A running server; stop it, or use ``with``."""

    def __init__(self, config: ServerConfig) -> None:
        self._started = threading.Event()
        self._server: RunningServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._ending = asyncio.Event()
        self._grace_seconds: float | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(config)), name="pageann-server", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def _run(self, config: ServerConfig) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._server = await start(config)
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._started.set()
        await self._ending.wait()
        await self._server.stop(self._grace_seconds)

    @property
    def running(self) -> RunningServer:
        """The server; its methods belong to its own thread."""
        assert self._server is not None
        return self._server

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.running.address

    @property
    def metrics_address(self) -> str:
        """Where metrics are served."""
        return self.running.metrics_address

    def stop(self, grace_seconds: float | None = None) -> None:
        """Let running calls go on for ``grace_seconds`` (None: as configured), then end."""
        self._grace_seconds = grace_seconds
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended in between
                self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve_in_thread(config: ServerConfig) -> ServerThread:
    """Start a server in a thread; returns when it answers. Raises what ``start`` raises."""
    return ServerThread(config)
