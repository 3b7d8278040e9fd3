"""Several processes on one port: each is a whole server, and the kernel shares connections out among them.

The parent serves nothing. It holds the port, starts the workers, starts one anew that has died, and
passes signals on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from dataclasses import replace

from pageann.errors import InvalidArgument, StorageError
from pageann.server.addresses import split_address
from pageann.server.config import IndexConfig, ServerConfig
from pageann.server.settings import config_of_dict
from pageann.types import ByteSize, parse_bytes

__all__ = ["share_of_worker", "supervise"]

logger = logging.getLogger("pageann.server")

_SOON_SECONDS = 5.0
"""A worker that dies sooner than this after its start failed to start."""
_PAUSE_SECONDS = 1.0
_START_FAILED = 4


async def supervise(config: ServerConfig) -> int:
    """Run ``config.workers`` workers until SIGTERM or SIGINT; returns the exit code."""
    with _held_port(config) as held:
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
        codes = await asyncio.gather(*(_keep_running(share, stopped, hurried) for share in shares))
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
    """The settings of one worker: its share of memory, and metrics on a port of its own.

    Raises InvalidArgument where no memory is stated that could be shared.
    """
    metrics = config.metrics_listen
    if metrics:
        host, port = split_address(metrics, "metrics_listen")
        shown = f"[{host}]" if ":" in host else host
        metrics = f"{shown}:{port + number if port else 0}"
    indexes = tuple(_share_of_index(index, config) for index in config.indexes)
    swap = parse_bytes(config.swap_memory or "50%")
    swap_memory = config.swap_memory if swap.share else _bytes_a_worker(swap, config)
    log = f"{config.access_log}.{number}" if config.access_log not in ("", "-") else config.access_log
    return replace(
        config, indexes=indexes, memory="", swap_memory=swap_memory, metrics_listen=metrics, workers=1,
        reuse_port=True, access_log=log,
    )  # fmt: skip


def _share_of_index(index: IndexConfig, config: ServerConfig) -> IndexConfig:
    memory = index.memory or config.memory
    if not memory:
        raise InvalidArgument(
            f"workers={config.workers} share the memory of an index, and none is stated for {index.name}; "
            "say memory"
        )
    whole: ByteSize = parse_bytes(memory)
    if whole.share:
        return replace(index, memory=f"{100 * whole.share / config.workers:.6f}%")
    return replace(index, memory=_bytes_a_worker(whole, config))


def _bytes_a_worker(whole: ByteSize, config: ServerConfig) -> str:
    return f"{max(1, whole.bytes // config.workers)}B"


async def _keep_running(config: ServerConfig, stopped: asyncio.Event, hurried: asyncio.Event) -> int:
    """Run one worker, again whenever it dies; its exit code once it was told to stop, or failed to start."""
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pageann.server.workers", stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(config.to_dict()).encode() + b"\n")
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
    config = config_of_dict(json.loads(sys.stdin.buffer.readline()))

    async def run() -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), _end_with_parent, loop)
        return await run_server(config)

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
