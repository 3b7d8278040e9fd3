"""Servers in this process, and the barest of clients: stubs over one channel, with a key or without."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from pageann.server import IndexConfig, ServerConfig, ServerThread, serve_in_thread
from pageann.server.v1 import pageann_pb2 as pb
from pageann.server.v1.pageann_pb2_grpc import SearchServiceStub
from pageann.wire.vectors import pack_vectors

SECONDS = 30.0
"""Longest wait for anything in these tests."""


def config_of(path: Path, **settings: Any) -> ServerConfig:
    """A server of one index, on free ports, without metrics unless asked for."""
    given = {"listen": "127.0.0.1:0", "metrics_listen": "", "threads": 2, "watch_seconds": 0.05, **settings}
    return ServerConfig(indexes=(IndexConfig("sample", path),), **given)


@contextlib.contextmanager
def served(path: Path, **settings: Any) -> Iterator[ServerThread]:
    """A server of the index at ``path``."""
    with serve_in_thread(config_of(path, **settings)) as server:
        yield server


class Caller:
    """Calls a server over a channel of its own."""

    def __init__(self, channel: grpc.Channel, key: str | None = None) -> None:
        self.channel = channel
        self.stub = SearchServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {key}")] if key is not None else []

    def search(self, queries: NDArray[Any], *, timeout: float = SECONDS, **options: Any) -> pb.SearchResponse:
        """One Search."""
        request = pb.SearchRequest(queries=pack_vectors(np.atleast_2d(queries)), **options)
        response: pb.SearchResponse = self.stub.Search(request, timeout=timeout, metadata=self._metadata)
        return response

    def call(self, method: str, request: Any, *, timeout: float = SECONDS) -> Any:
        """Any other method."""
        return getattr(self.stub, method)(request, timeout=timeout, metadata=self._metadata)


@contextlib.contextmanager
def calling(address: str, key: str | None = None, *, alone: bool = False) -> Iterator[Caller]:
    """A client; ``alone``: with a connection that it shares with no other."""
    options = [("grpc.use_local_subchannel_pool", 1)] if alone else []
    with grpc.insecure_channel(address, options) as channel:
        yield Caller(channel, key)


def code_of(action: Callable[[], Any]) -> grpc.StatusCode | None:
    """The status that a call ends with."""
    try:
        action()
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined, no-any-return]
    return grpc.StatusCode.OK


def eventually(true: Callable[[], Any], what: str) -> None:
    """Wait until ``true()`` is."""
    until = monotonic() + SECONDS
    pause = threading.Event()
    while not true():
        assert monotonic() < until, f"never: {what}"
        pause.wait(0.01)


def figures(server: ServerThread) -> dict[str, float]:
    """The metrics of a server by name and labels."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=SECONDS) as answer:
        text = answer.read().decode()
    return {
        match[1]: float(match[2])
        for match in re.finditer(r"^([^#\s]\S*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


class Load:
    """Threads that search without pause, each with a connection of its own, and what went wrong."""

    def __init__(self, address: str, queries: NDArray[Any], threads: int = 4, key: str | None = None) -> None:
        self._address, self._queries, self._key = address, queries, key
        self._ending = threading.Event()
        self.pause = threading.Event()
        """Never set: for waiting."""
        self._pool = ThreadPoolExecutor(threads)
        self.answers = 0
        self.failures: list[grpc.RpcError] = []
        self._workers: list[Future[None]] = [self._pool.submit(self._work, n) for n in range(threads)]

    def _work(self, number: int) -> None:
        with self.connect() as caller:
            while not self._ending.is_set():
                query = self._queries[(number + self.answers) % len(self._queries)]
                try:
                    self.attempt(caller, query)
                except grpc.RpcError as error:
                    self.failures.append(error)
                else:
                    self.answers += 1

    def connect(self) -> contextlib.AbstractContextManager[Caller]:
        """The connection of a thread."""
        return calling(self._address, self._key, alone=True)

    def attempt(self, caller: Caller, query: NDArray[Any]) -> None:
        """One search."""
        caller.search(query, k=5)

    def wait_for(self, answers: int) -> None:
        """Wait until so many more were answered."""
        goal = self.answers + answers
        eventually(lambda: self.answers >= goal or self.failures, f"{answers} more answers")

    def end(self) -> None:
        """Stop, and wait for the calls that run."""
        self._ending.set()
        self._pool.shutdown()
        for worker in self._workers:
            worker.result()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class SlowIndex:
    """Makes the searches of a served index take ``seconds``, and counts what becomes of them."""

    def __init__(self, server: ServerThread, seconds: float) -> None:
        version = next(iter(server.running._registry)).take()
        self._seconds = seconds
        self._search = version.index.asearch
        self.begun = 0
        self.options: list[dict[str, Any]] = []
        """Of each search that was begun."""
        self.cancelled = 0
        self.most_at_once = 0
        self._at_once = 0
        version.index.asearch = self._slow  # type: ignore[method-assign, assignment]
        assert server._loop is not None
        server._loop.call_soon_threadsafe(version.let_go)

    async def _slow(self, *arguments: Any, **options: Any) -> Any:
        self.begun += 1
        self.options.append(options)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self._seconds)
            return await self._search(*arguments, **options)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._at_once -= 1
