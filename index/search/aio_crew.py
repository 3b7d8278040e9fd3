"""Coroutines that answer calls over the aio driver: in the caller's event loop, or in one of ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading

from pageann.index.kernels.state import Resident
from pageann.index.search.aio_desks import AioDesks
from pageann.index.search.calls import Call, closed_engine
from pageann.index.search.desks import DeskMemory
from pageann.index.search.ending import end_at_exit
from pageann.index.search.part import Part
from pageann.index.search.rounds import search_awaiting
from pageann.index.search.workspace import WorkspaceFacts
from pageann.storage.io import fork
from pageann.storage.io.aio import AioDriver

__all__ = ["AioCrew"]

_SHARE_MOST = 64
"""Queries for which a coroutine keeps a desk."""
_END_SECONDS = 5.0


class AioCrew:
    """``slots`` desks of one query in flight each; a call uses as many coroutines as it may.

    ``scratch_bytes`` bounds the memory of all queries in flight; 0: it is not bounded.
    """

    def __init__(self, resident: Resident, driver: AioDriver, slots: int, scratch_bytes: int = 0) -> None:
        self.workers = slots
        self._resident = resident
        self._driver = driver
        self._made_in = fork.generation()
        self._facts = WorkspaceFacts.of_parameters(resident.parameters)
        self._desks = AioDesks([DeskMemory(resident, 1) for _ in range(slots)], scratch_bytes)
        self._lock = threading.Lock()
        self._promised: set[concurrent.futures.Future[None]] = set()
        """What threads wait for, of our event loop."""
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: set[Call] = set()
        end_at_exit(self)

    def run(self, call: Call) -> None:
        """Wait until ``call`` is answered; when interrupted, until it has ended."""
        answered: concurrent.futures.Future[None] | None = None
        try:
            answered = self._promise(call)
            answered.result()
        except BaseException:
            call.stop[0] = 1
            while answered is not None and not answered.done():
                with contextlib.suppress(KeyboardInterrupt):
                    concurrent.futures.wait([answered])
            raise

    def _promise(self, call: Call) -> concurrent.futures.Future[None]:
        """The end of ``call`` in our event loop, which goes on until then."""
        with self._lock:
            if self._closing:
                raise closed_engine()
            promise = asyncio.run_coroutine_threadsafe(self.arun(call), self._own_loop())
            self._promised.add(promise)
        promise.add_done_callback(self._promised.discard)
        return promise

    async def arun(self, call: Call) -> None:
        """The same for a coroutine, in its own loop; a cancelled call is dropped."""
        self._running.add(call)
        searchers = [asyncio.create_task(self._search_shares(call)) for _ in range(call.width)]
        try:
            await asyncio.gather(*searchers)
        except BaseException:
            call.stop[0] = 1
            for searcher in searchers:
                searcher.cancel()
            raise
        finally:
            self._running.discard(call)

    async def _search_shares(self, call: Call) -> None:
        """Answer shares of ``call`` until none is left."""
        share = min(call.share, _SHARE_MOST)
        nbytes = self._facts.bytes(1, call.options.size)
        while call.upcoming < len(call) and call.stop[0] == 0:
            first = call.upcoming
            call.upcoming = min(first + share, len(call))
            part = call.part(first, call.upcoming)
            desk = await self._desks.take(nbytes)
            try:
                await self._search(desk, part)
            finally:
                self._desks.give_back(desk)

    async def _search(self, desk: DeskMemory, part: Part) -> None:
        workspace = desk.workspace(part.options.size)
        part.options.write(workspace.work.call)
        await search_awaiting(self._resident, workspace, desk.batch(workspace), part, self._driver)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of callers that have none; the lock is held."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name="pageann-aio", daemon=True
            )
            self._thread.start()
        return self._loop

    def close(self) -> None:
        """Wait for what runs, then end. Does nothing in a forked child, which has no threads."""
        if self._made_in == fork.generation():
            with self._lock:
                self._closing = True
            self._desks.close()
            self._stop_loop()
            self._driver.close()

    def abandon(self) -> None:
        """Cut short what runs, without waiting."""
        if self._made_in == fork.generation():
            for call in list(self._running):
                call.stop[0] = 1
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._loop.stop)

    def end(self) -> None:
        """Cut short what runs and end the thread."""
        self.abandon()
        if self._thread is not None and self._made_in == fork.generation():
            self._thread.join(_END_SECONDS)

    def _stop_loop(self) -> None:
        concurrent.futures.wait(list(self._promised))
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The life of the thread."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()
