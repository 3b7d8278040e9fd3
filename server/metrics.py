"""Prometheus metrics, in a registry of their own, served over HTTP on a port of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import HTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pageann import __version__
from pageann.errors import StorageError
from pageann.server.addresses import split_address
from pageann.server.gate import Gate
from pageann.server.tallies import Tally

__all__ = ["CallCounts", "IndexFigures", "Metrics", "MetricsPort"]

_LATENCY_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
_RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """What an index says of itself when metrics are read."""

    name: str
    serving: bool
    queries: int
    reads: int
    kib: float
    resident_bytes: int
    draining_bytes: int
    budget_bytes: int
    rows: int


class _IndexCollector(Collector):
    """Reads figures of indexes only when somebody asks: a call pays nothing for them."""

    def __init__(self, figures: Callable[[], Iterable[IndexFigures]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = list(self._figures())
        for name, text in (
            ("queries", "Queries answered"),
            ("reads", "Device reads of searches"),
            ("kib", "KiB that those reads brought"),
        ):
            counter = CounterMetricFamily(f"pageann_index_{name}", text, labels=["index"])
            for each in figures:
                counter.add_metric([each.name], getattr(each, name))
            yield counter
        for name, text in (
            ("serving", "1 while the index answers"),
            ("rows", "Vectors of the version served"),
            ("resident_bytes", "Bytes held by the version served, as its ledger counts them"),
            ("draining_bytes", "Bytes held by versions that are going out of service"),
            ("budget_bytes", "Memory budget of the version served"),
        ):
            gauge = GaugeMetricFamily(f"pageann_index_{name}", text, labels=["index"])
            for each in figures:
                gauge.add_metric([each.name], float(getattr(each, name)))
            yield gauge


class _LostLines(Collector):
    """Lines of the access log that could not be written."""

    def __init__(self, lost: Callable[[], int]) -> None:
        self._lost = lost

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "pageann_access_log_lost", "Lines of the access log that could not be written", self._lost()
        )


class CallCounts(Collector):
    """What every call counts. Belongs to one event loop; read on the thread of whoever asks for metrics."""

    def __init__(self) -> None:
        self.recall = Tally(_RECALLS)
        self.effort = 0
        """Searches that ask for an effort."""
        self.exact = 0
        """Searches that ask for exact answers."""
        self._calls: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, Tally] = {}

    def count(self, method: str, status: str, seconds: float) -> None:
        """A call has ended."""
        key = (method, status)
        self._calls[key] = self._calls.get(key, 0) + 1
        tally = self._seconds.get(method)
        if tally is None:
            tally = self._seconds[method] = Tally(_LATENCY_SECONDS)
        tally.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "pageann_requests", "Calls by method and gRPC status", labels=["method", "status"]
        )
        for labels, count in list(self._calls.items()):
            requests.add_metric(labels, count)
        yield requests
        seconds = HistogramMetricFamily(
            "pageann_request_seconds", "Time from the arrival of a call to its answer", labels=["method"]
        )
        for method, tally in list(self._seconds.items()):
            seconds.add_metric([method], *tally.buckets())
        yield seconds
        buckets, total = self.recall.buckets()
        yield HistogramMetricFamily("pageann_recall_asked", "Recall that searches ask for", buckets, total)
        yield CounterMetricFamily("pageann_effort_asked", "Searches that ask for an effort", self.effort)
        yield CounterMetricFamily("pageann_exact_asked", "Searches that ask for exact answers", self.exact)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = CallCounts()
        self.registry.register(self.calls)
        self._rejected = Counter(
            "pageann_rejected", "Calls refused, by the reason code of the error", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self.slow_readers = Counter(
            "pageann_slow_readers", "Answers dropped because their reader did not take them",
            registry=self.registry,
        )  # fmt: skip
        self._swaps = Counter(
            "pageann_index_swaps", "Versions taken into service, and failures to", ["index", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        build = Gauge("pageann_build_info", "Version of the server", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def count_rejection(self, reason: str) -> None:
        """A call was refused; ``reason`` is the code of an error, of which there are few."""
        self._rejected.labels(reason).inc()

    def count_swap(self, index: str, outcome: str) -> None:
        """A version was taken into service (``done``) or could not be (``failed``)."""
        self._swaps.labels(index, outcome).inc()

    def watch_gates(self, calls: Gate, blocking: Gate, unsent_bytes: Callable[[], int]) -> None:
        """Show how full the server is."""
        depth = Gauge("pageann_queue_depth", "Calls that wait", ["gate"], registry=self.registry)
        inside = Gauge("pageann_calls_running", "Calls at work", ["gate"], registry=self.registry)
        depth.labels("search").set_function(lambda: calls.waiting)
        depth.labels("blocking").set_function(lambda: blocking.waiting)
        inside.labels("search").set_function(lambda: calls.inside)
        inside.labels("blocking").set_function(lambda: blocking.inside)
        unsent = Gauge(
            "pageann_unsent_bytes", "Large answers that wait for their readers", registry=self.registry
        )
        unsent.set_function(unsent_bytes)

    def watch_log(self, lost: Callable[[], int]) -> None:
        """Show how many lines of the access log could not be written."""
        self.registry.register(_LostLines(lost))

    def watch_indexes(self, figures: Callable[[], Iterable[IndexFigures]]) -> None:
        """Show the figures of indexes."""
        self.registry.register(_IndexCollector(figures))


class MetricsPort:
    """Serves metrics on ``address`` from a thread. StorageError if it cannot listen there."""

    def __init__(self, metrics: Metrics, address: str) -> None:
        host, port = split_address(address, "metrics_listen")
        try:
            self._server: HTTPServer
            self._thread: threading.Thread
            self._server, self._thread = start_http_server(port, addr=host, registry=metrics.registry)
        except OSError as error:
            raise StorageError(
                f"metrics_listen={address!r}: cannot listen there: {error.strerror or error}; "
                "choose another address",
                error.errno or 0,
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._server.server_port}"

    def close(self) -> None:
        """Stop; answers that are being written are finished."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
