"""Start a server in an event loop, and stop it without failing the calls that it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pageann.errors import InvalidArgument, StorageError
from pageann.server.access_log import AccessLog
from pageann.server.addresses import split_address
from pageann.server.answering import Answering
from pageann.server.calls import Calls
from pageann.server.config import ServerConfig
from pageann.server.health import Health
from pageann.server.identity import Doorman
from pageann.server.keys import KeyRing
from pageann.server.metrics import Metrics, MetricsPort
from pageann.server.registry import Registry
from pageann.server.service import SERVICE_NAME, SearchService
from pageann.server.streams import Streams
from pageann.server.tls import server_credentials
from pageann.server.tracing import Tracer
from pageann.server.watch import watch

__all__ = ["RunningServer", "start"]

logger = logging.getLogger("pageann.server")

_SPARE_CALLS = 2048
"""Calls beyond those at work and in the queue: answers on their way to slow readers, and refusals."""
_CALLS_A_CONNECTION = 1000
_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 20_000
_LEAST_PING_MS = 10_000


async def start(config: ServerConfig, shared: str | None = None) -> RunningServer:
    """A server that answers: every index is open. Nothing is left behind where that fails.

    ``shared`` is the address of what holds the arrays of its indexes for several servers.

    Raises InvalidArgument for settings that cannot be, StorageError where it cannot listen, and what
    ``pageann.open`` raises.
    """
    if not config.indexes:
        raise InvalidArgument("no index to serve; name at least one")
    server = RunningServer(config, shared)
    try:
        await server._open()
    except BaseException:
        await server.stop(0.0)
        raise
    return server


class RunningServer:
    """A server that runs in the event loop which called :func:`start`."""

    def __init__(self, config: ServerConfig, shared: str | None = None) -> None:
        self.config = config
        self.address = ""
        """Where it listens, with the port that it was given."""
        self.metrics_address = ""
        """Where metrics are served; empty: nowhere."""
        self._metrics = Metrics()
        self._health = Health(SERVICE_NAME)
        self._registry = Registry(config, self._health.note, self._on_swap, shared)
        self._answering = Answering(config, self._registry, self._metrics)
        self._cleanup = contextlib.AsyncExitStack()
        self._leaving = False
        self._stopping: asyncio.Task[None] | None = None

    async def _open(self) -> None:
        config, metrics = self.config, self._metrics
        self._cleanup.push_async_callback(asyncio.to_thread, self._answering.blocking.close)
        self._cleanup.push_async_callback(self._registry.close)
        keys = None
        if config.has_keys:
            keys = KeyRing(Path(config.keys_file) if config.keys_file else None, config.keys)
        log = self._open_log()
        doorman = Doorman(keys, trusts_strangers=config.trusts_strangers)
        tracer = Tracer() if config.tracing else None
        self._calls = calls = Calls(doorman, metrics, log, tracer, self._answering.unsent)
        metrics.watch_log(lambda: 0 if log is None else log.lost)
        self._streams = Streams(
            calls, self._answering, config.streams, config.stream_requests, config.concurrency
        )
        service = SearchService(calls, self._registry, self._answering, self._streams)
        self._server = self._listen(service)
        self._open_metrics()
        await self._health.begin([index.name for index in config.indexes])
        await self._server.start()
        self._cleanup.push_async_callback(self._stop_grpc)
        await self._registry.open()
        self._start_watching(keys, log)
        if self.metrics_address:
            logger.info("metrics on %s", self.metrics_address)
        logger.info("listening on %s", self.address)

    def _open_log(self) -> AccessLog | None:
        if not self.config.access_log:
            return None
        log = AccessLog(self.config.access_log)
        self._cleanup.callback(log.close)
        return log

    def _listen(self, service: SearchService) -> grpc.aio.Server:
        config = self.config
        server = grpc.aio.server(
            options=_channel_options(config),
            maximum_concurrent_rpcs=config.concurrency + 2 * config.queue + config.streams + _SPARE_CALLS,
        )
        server.add_generic_rpc_handlers((service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if config.reflection:
            names = (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        credentials = server_credentials(config, lambda message: logger.error("%s", message))
        try:
            if credentials is None:
                port = server.add_insecure_port(config.listen)
            else:
                port = server.add_secure_port(config.listen, credentials)
        except RuntimeError:
            port = 0
        if not port:
            raise StorageError(
                f"listen={config.listen!r}: cannot listen there: is another server, or the port taken, "
                "or the address not of this machine?"
            )
        host, _ = split_address(config.listen, "listen")
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return server

    def _open_metrics(self) -> None:
        answering, metrics = self._answering, self._metrics
        metrics.watch_gates(answering.gate, answering.blocking.gate, lambda: answering.unsent.bytes)
        metrics.watch_indexes(self._registry.figures)
        if self.config.metrics_listen:
            port = MetricsPort(metrics, self.config.metrics_listen)
            self._cleanup.push_async_callback(asyncio.to_thread, port.close)
            self.metrics_address = port.address

    def _start_watching(self, keys: KeyRing | None, log: AccessLog | None) -> None:
        looks: list[Callable[[], object]] = [self._registry.look_for_versions, self._drop_slow_readers]
        looks += [each.refresh for each in (keys, log) if each is not None]
        stopped = asyncio.Event()
        watching = asyncio.create_task(watch(looks, self.config.watch_seconds, stopped))

        async def end() -> None:
            stopped.set()
            await watching

        self._cleanup.push_async_callback(end)

    def _drop_slow_readers(self) -> None:
        self._metrics.slow_readers.inc(self._answering.unsent.drop_late())

    def _on_swap(self, index: str, error: Exception | None) -> None:
        if error is None:
            self._metrics.count_swap(index, "done")
            logger.info("index %s: a new version is in service", index)
        else:
            self._metrics.count_swap(index, "failed")
            logger.error("index %s: the version in service stays: %s", index, error)

    async def stop(self, grace_seconds: float | None = None, *, leaving: bool = False) -> None:
        """Refuse new calls, let those that run go on for ``grace_seconds`` (None: ``drain_seconds``), close.

        ``leaving``: the process ends right afterwards, and connections with it. Callers see those as
        UNAVAILABLE and try elsewhere; what gRPC ends itself is CANCELLED, which nobody tries again.
        A second call waits for the first.
        """
        self._leaving = leaving
        if self._stopping is None:
            grace = self.config.drain_seconds if grace_seconds is None else grace_seconds
            self._stopping = asyncio.create_task(self._stop(grace))
        await asyncio.shield(self._stopping)

    async def _stop_grpc(self) -> None:
        if not self._leaving:
            await self._server.stop(None)

    async def _stop(self, grace_seconds: float) -> None:
        await self._health.enter_graceful_shutdown()
        if self.address:
            if grace_seconds and self.config.notice_seconds:
                await asyncio.sleep(self.config.notice_seconds)
            self._streams.end()
            self._calls.refuse()
            await self._calls.ended(grace_seconds)
            self._health.end()
        await self._cleanup.aclose()


def _channel_options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(config.reuse_port)),
        ("grpc.max_receive_message_length", config.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _CALLS_A_CONNECTION),
        ("grpc.max_connection_idle_ms", int(1000 * config.connection_idle_seconds)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_MS),
    ]
