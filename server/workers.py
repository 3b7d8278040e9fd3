"""Several processes on one port: each is a whole server, and the kernel shares connections out among them.

The parent serves nothing. It holds the port and, for all workers, the arrays of the indexes; it starts the
workers, starts one anew that has died, and passes signals on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from dataclasses import replace

from pageann import SharedArrays
from pageann.errors import StorageError
from pageann.server.addresses import split_address
from pageann.server.config import ServerConfig
from pageann.server.settings import config_of_dict

__all__ = ["share_of_worker", "supervise"]

logger = logging.getLogger("pageann.server")

_SOON_SECONDS = 5.0
"""A worker that dies sooner than this after its start failed to start."""
_PAUSE_SECONDS = 1.0
_START_FAILED = 4


async def supervise(config: ServerConfig) -> int:
    """Run ``config.workers`` workers until SIGTERM or SIGINT; returns the exit code."""
    with _held_port(config) as held, SharedArrays(config.workers) as arrays:
        host, port = held.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        shares = [
            share_of_worker(replace(config, listen=address), number) for number in range(config.workers)
        ]
        stopped, hurried = asyncio.Event(), asyncio.Event()

        def note_signal() -> None:
            (hurried if stopped.is_set() else stopped).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, note_signal)
        logger.info("%d workers on %s", config.workers, address)
        codes = await asyncio.gather(
            *(_keep_running(share, arrays.address, stopped, hurried) for share in shares)
        )
    return max(codes)


def _held_port(config: ServerConfig) -> socket.socket:
    """A socket that reserves the port, on which nobody listens."""
    host, port = split_address(config.listen, "listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        if config.reuse_port or not port:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            _require_free(family, host, port)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise StorageError(
            f"listen={config.listen!r}: cannot listen there: {error.strerror}; choose another address",
            error.errno or 0,
        ) from None
    return held


def _require_free(family: socket.AddressFamily, host: str, port: int) -> None:
    """OSError if somebody else listens there, which SO_REUSEPORT would hide."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def share_of_worker(config: ServerConfig, number: int) -> ServerConfig:
    """The settings of one worker: metrics on a port of its own, and a log."""
    metrics = config.metrics_listen
    if metrics:
        host, port = split_address(metrics, "metrics_listen")
        shown = f"[{host}]" if ":" in host else host
        metrics = f"{shown}:{port + number if port else 0}"
    log = f"{config.access_log}.{number}" if config.access_log not in ("", "-") else config.access_log
    return replace(config, metrics_listen=metrics, workers=1, reuse_port=True, access_log=log)


async def _keep_running(
    config: ServerConfig, shared: str, stopped: asyncio.Event, hurried: asyncio.Event
) -> int:
    """Run one worker, again whenever it dies; its exit code once it was told to stop, or failed to start."""
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pageann.server.workers", stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        settings = {"config": config.to_dict(), "shared": shared}
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        ended = asyncio.create_task(process.wait())
        asked = asyncio.create_task(stopped.wait())
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if stopped.is_set():
            return await _end(process, ended, hurried)
        if loop.time() - begun < _SOON_SECONDS:
            stopped.set()
            return max(0, await ended) or _START_FAILED
        logger.error("a worker died (%s) and is started again", process.returncode)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int], hurried: asyncio.Event) -> int:
    """Let a worker go down, at once when ``hurried`` is set; its exit code, 0 where a signal ended it."""
    if process.returncode is None:
        process.terminate()
    asked = asyncio.create_task(hurried.wait())
    await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if process.returncode is None:
        process.terminate()
    return max(0, await ended)


def worker() -> int:
    """One worker: settings on stdin, which closes when the parent dies."""
    from pageann.errors import PageANNError
    from pageann.server.command import run_server, start_logging

    start_logging()
    settings = json.loads(sys.stdin.buffer.readline())
    config = config_of_dict(settings["config"])

    async def run() -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), _end_with_parent, loop)
        return await run_server(config, settings["shared"])

    try:
        return asyncio.run(run())
    except PageANNError as error:
        logger.error("%s", error)
        return _START_FAILED


def _end_with_parent(loop: asyncio.AbstractEventLoop) -> None:
    loop.remove_reader(sys.stdin.fileno())
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(worker())
