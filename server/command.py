"""What ``pageann serve`` runs: settings, signals, and one process or several."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NoReturn

from pageann.cli.output import until_closed
from pageann.errors import InvalidArgument, MissingDependency
from pageann.server.config import ServerConfig
from pageann.server.keys import hashed_line
from pageann.server.settings import read_config, shown

__all__ = ["hash_key", "run_server", "serve"]

logger = logging.getLogger("pageann.server")

_PACKAGES = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "prometheus_client")
_BEYOND_DRAIN_SECONDS = 10.0
"""How much longer than its drain time a server may take to end before it is ended."""


def serve(config_file: str | None, flags: Mapping[str, Any], *, print_config: bool) -> int:
    """Serve until SIGTERM or SIGINT. Raises PageANNError for what keeps it from starting."""
    config = read_config(config_file, os.environ, flags)
    if print_config:
        with until_closed():
            print(shown(config))
        return 0
    if not config.indexes:
        raise InvalidArgument("no index to serve; name at least one")
    start_logging()
    _require_packages()
    if config.workers > 1:
        from pageann.server.workers import supervise

        return asyncio.run(supervise(config))
    return asyncio.run(run_server(config))


def hash_key(name_and_role: str) -> int:
    """Read a key from the terminal or stdin, and print its line for the file of keys."""
    name, colon, role = name_and_role.partition(":")
    key = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    print(hashed_line(name, role if colon else "read", key))
    return 0


def start_logging() -> None:
    """Events of the server go to stderr, one line each."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"the service needs the package {missing[0]}; pip install 'pageann[serve]'")


async def run_server(config: ServerConfig, shared: str | None = None) -> int:
    """Serve in this process until a signal; a second signal ends calls at once.

    ``shared`` as for :func:`pageann.server.run.start`.
    """
    from pageann.server.run import start

    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    starting = asyncio.create_task(start(config, shared))
    first = asyncio.create_task(signals.get())
    await asyncio.wait([starting, first], return_when=asyncio.FIRST_COMPLETED)
    if first.done() and not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return 0
    server = starting.result()
    await first
    logger.info("going down; calls that run have %g s", config.drain_seconds)
    stopping = asyncio.create_task(server.stop(leaving=True))
    second = asyncio.create_task(signals.get())
    most_seconds = config.notice_seconds + config.drain_seconds + _BEYOND_DRAIN_SECONDS
    await asyncio.wait([stopping, second], timeout=most_seconds, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        logger.error("ended with calls that still ran")
        _leave(1)  # threads inside a long read would hold up an orderly end
    stopping.result()
    logger.info("stopped")
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End this process, and its connections, as they are."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
