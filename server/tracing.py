"""OpenTelemetry spans, a span a call, where they are asked for and the package is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from pageann import __version__
from pageann.errors import MissingDependency

__all__ = ["Span", "Tracer"]


class Span(Protocol):
    """What is used of a span of OpenTelemetry."""

    def set_attribute(self, key: str, value: Any) -> None: ...

    def end(self) -> None: ...


class Tracer:
    """Starts spans below the one that the client names in ``traceparent``.

    Raises MissingDependency without opentelemetry-api.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise MissingDependency("tracing needs opentelemetry; pip install 'pageann[tracing]'") from None
        self._extract = propagate.extract
        self._server_kind = trace.SpanKind.SERVER
        self._tracer = trace.get_tracer("pageann", __version__)

    def start(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Span:
        """A span for a call."""
        carrier = {name: value for name, value in metadata if isinstance(value, str)}
        return self._tracer.start_span(
            f"pageann.v1.SearchService/{method}", self._extract(carrier), self._server_kind
        )
