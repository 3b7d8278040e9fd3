"""Library calls that block, on a few threads, with the calls they are made for waiting their turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from pageann.server.gate import Gate
from pageann.server.version import OpenVersion

__all__ = ["BlockingWork"]

Result = TypeVar("Result")


class BlockingWork:
    """Runs up to ``threads`` library calls at a time; ``queue`` more wait."""

    def __init__(self, threads: int, queue: int) -> None:
        self.gate = Gate(threads, queue)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pageann-call")

    async def run(self, version: OpenVersion, seconds: float, work: Callable[[], Result]) -> Result:
        """``work()``, which uses ``version``, within ``seconds`` of waiting; lets go of it afterwards.

        A call that is cancelled returns at once; its place is free again when the thread is done.
        """
        try:
            await self.gate.enter(seconds)
        except BaseException:
            version.let_go()
            raise
        loop, started = asyncio.get_running_loop(), monotonic()
        future = self._threads.submit(work)

        def release() -> None:
            self.gate.leave(started)
            version.let_go()

        def ended(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # a loop that was closed counts no more calls
                loop.call_soon_threadsafe(release)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what runs."""
        self._threads.shutdown()
