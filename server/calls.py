"""What every call goes through: keys, spans, metrics, the log, and errors made fit to leave the house."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from pageann.errors import PageANNError, ServiceUnavailable
from pageann.server.access_log import AccessLog, Entry
from pageann.server.identity import Doorman, Metadata
from pageann.server.keys import Caller
from pageann.server.metrics import Metrics
from pageann.server.tracing import Span, Tracer
from pageann.server.unsent import Unsent
from pageann.wire.statuses import CallStatus, status_of

__all__ = ["Calls", "Context", "seconds_left"]

logger = logging.getLogger("pageann.server")

Context = grpc.aio.ServicerContext[Any, Any]
UnaryBody = Callable[[Any, Context, Caller, Entry], Awaitable[Any]]
StreamBody = Callable[[Context, Caller, Entry], Awaitable[None]]

_OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS)
"""Statuses that the operator should hear of."""


def seconds_left(context: Context) -> float:
    """Until the call's own deadline; inf where it has none."""
    left = context.time_remaining()
    return inf if left is None else left


class Calls:
    """Makes handlers of gRPC from the bodies of calls."""

    def __init__(
        self,
        doorman: Doorman,
        metrics: Metrics,
        log: AccessLog | None,
        tracer: Tracer | None,
        unsent: Unsent,
    ) -> None:
        self._doorman = doorman
        self._metrics = metrics
        self._log = log
        self._tracer = tracer
        self._unsent = unsent
        self._names_all = log is not None or tracer is not None
        """Whether every call is told of, so that each needs a request id."""
        self._running = 0
        self._refusing = False
        self._all_ended = asyncio.Event()

    def refuse(self) -> None:
        """Answer no more calls than those that run."""
        self._refusing = True
        if not self._running:
            self._all_ended.set()

    async def ended(self, seconds: float) -> bool:
        """Wait, after :meth:`refuse`, until the last answer is sent, at most ``seconds``; whether it was."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended.wait(), seconds)
        return self._all_ended.is_set()

    def _sent(self, context: Context) -> None:
        """The answer of a call has been taken, or the call has ended without one."""
        self._unsent.sent(context)
        self._running -= 1
        if self._refusing and not self._running:
            self._all_ended.set()

    def unary(self, method: str, body: UnaryBody, *, as_admin: bool = False) -> Callable[..., Awaitable[Any]]:
        """The handler of ``method``, whose answer ``body(request, context, caller, entry)`` returns."""

        async def handle(request: Any, context: Context) -> Any:
            started = monotonic()
            metadata = context.invocation_metadata() or ()
            entry, span = self._begin(method, context, metadata)
            try:
                caller = self._admit(metadata, entry, as_admin)
                response = await body(request, context, caller, entry)
                entry.status = "OK"
                return response
            except asyncio.CancelledError:
                entry.status = _how_cancelled(context)
                raise
            except Exception as error:
                await self._abort(context, entry, error)
            finally:
                self._end(entry, span, started)

        return handle

    def stream(self, method: str, body: StreamBody) -> Callable[..., Awaitable[None]]:
        """The handler of a stream, which ``body(context, caller, entry)`` reads and answers."""

        async def handle(_: Any, context: Context) -> None:
            started = monotonic()
            metadata = context.invocation_metadata() or ()
            entry, span = self._begin(method, context, metadata)
            try:
                caller = self._admit(metadata, entry, as_admin=False)
                entry.request_id = entry.request_id or self._doorman.request_id(metadata)
                await body(context, caller, entry)
                entry.status = "OK"
            except asyncio.CancelledError:
                entry.status = _how_cancelled(context)
                raise
            except Exception as error:
                await self._abort(context, entry, error)
            finally:
                self._end(entry, span, started)

        return handle

    def _begin(self, method: str, context: Context, metadata: Metadata) -> tuple[Entry, Span | None]:
        self._running += 1
        context.add_done_callback(self._sent)  # type: ignore[arg-type, unused-ignore]  # a function is one
        entry = Entry(method)
        if not self._names_all:
            return entry, None
        entry.request_id = self._doorman.request_id(metadata)
        return entry, None if self._tracer is None else self._tracer.start(method, metadata)

    def _admit(self, metadata: Metadata, entry: Entry, as_admin: bool) -> Caller:
        if self._refusing:
            raise ServiceUnavailable("the server is going down; try again")
        caller = self._doorman.admit(metadata, as_admin=as_admin)
        entry.caller = caller.name
        return caller

    def failed(self, entry: Entry, error: Exception) -> CallStatus:
        """What a failed request is answered with; counted, and told to the operator where it is ours."""
        status = status_of(error)
        entry.status, entry.reason = status.code.name, status.reason
        self._metrics.count_rejection(status.reason)
        if not isinstance(error, PageANNError):
            logger.error("%s %s failed", entry.request_id, entry.method, exc_info=error)
        elif status.code in _OURS:
            logger.error("%s %s: %s: %s", entry.request_id, entry.method, status.reason, error)
        return status

    async def _abort(self, context: Context, entry: Entry, error: Exception) -> None:
        if not entry.request_id:
            entry.request_id = self._doorman.request_id(context.invocation_metadata() or ())
        status = self.failed(entry, error)
        details: tuple[tuple[str, str | bytes], ...] = status.trailing_metadata
        metadata = (*details, ("x-request-id", entry.request_id))
        await context.abort(status.code, status.message, metadata)

    def _end(self, entry: Entry, span: Span | None, started: float) -> None:
        seconds = monotonic() - started
        self._metrics.calls.count(entry.method, entry.status, seconds)
        if span is not None:
            _describe(span, entry)
            span.end()
        if self._log is not None:
            entry.duration_us = int(seconds * 1e6)
            self._log.write(entry)

    def note_slow_reader(self) -> None:
        """Count a stream that was ended because its answers were not taken."""
        self._metrics.slow_readers.inc()

    def note(self, entry: Entry, started: float) -> None:
        """Count and log one request of a stream as a call of its own."""
        self._end(entry, None, started)


def _how_cancelled(context: Context) -> str:
    return "DEADLINE_EXCEEDED" if seconds_left(context) <= 0 else "CANCELLED"


def _describe(span: Span, entry: Entry) -> None:
    span.set_attribute("rpc.system", "grpc")
    span.set_attribute("rpc.grpc.status", entry.status)
    span.set_attribute("pageann.request_id", entry.request_id)
    for name in ("index", "queries", "k", "quality", "reads", "reason"):
        if value := getattr(entry, name):
            span.set_attribute(f"pageann.{name}", value)
