"""Samples that are opened as clients of a service: each kind of client in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pageann.server import IndexConfig, ServerConfig, ServerThread, serve_in_thread
from tests.library.conftest import layout
from tests.library.samples import Kind, Sample, Samples
from tests.server.client.doors import KINDS, door

__all__ = ["layout"]

SERVERS_MAX = 6


class Servers:
    """Running servers, each of one index with one budget; those used last stay for the next test."""

    def __init__(self) -> None:
        self._running: OrderedDict[tuple[Any, ...], ServerThread] = OrderedDict()

    def address(self, path: Path, memory: Any, options: dict[str, Any]) -> str:
        """Where the index at ``path`` is served with these options of ``pageann.open``."""
        key = (path, memory, *sorted(options.items()))
        if key not in self._running:
            budget = "" if memory is None else str(memory)
            self._running[key] = serve_in_thread(
                ServerConfig(
                    indexes=(IndexConfig("sample", path, budget),),
                    listen="127.0.0.1:0",
                    metrics_listen="",
                    most_k=100_000,
                    **options,
                )
            )
        self._running.move_to_end(key)
        while len(self._running) > SERVERS_MAX:
            self._running.popitem(last=False)[1].stop(0.0)
        return self._running[key].address

    def close(self) -> None:
        """Stop them all."""
        while self._running:
            self._running.popitem()[1].stop(0.0)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this session."""
    running = Servers()
    yield running
    running.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Any kind of index, built when first asked for."""
    return Samples(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="session", params=KINDS)
def samples(request: pytest.FixtureRequest, built: Samples, servers: Servers) -> Callable[[Kind], Sample]:
    """The same samples as the library's tests have, behind a service."""

    def connect(kind: str, path: Path, *, memory: Any = None, **options: Any) -> Any:
        return door(kind, servers.address(path, memory, options), "sample")

    return lambda kind: replace(built(kind), opener=partial(connect, request.param))
