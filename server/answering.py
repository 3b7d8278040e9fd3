"""Answer one request by the library: find the index, wait for a turn, search, pack the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from pageann.api import DEFAULT_RECALL
from pageann.errors import InvalidArgument, PageANNError
from pageann.results import RangeResult, SearchResult
from pageann.server.access_log import Entry
from pageann.server.config import ServerConfig
from pageann.server.gate import Gate
from pageann.server.keys import Caller
from pageann.server.limits import DEFAULT_K, RequestLimits, expected_bytes, soft_seconds
from pageann.server.metrics import Metrics
from pageann.server.rates import RateLimits
from pageann.server.registry import Registry
from pageann.server.unsent import Unsent
from pageann.server.v1 import pageann_pb2 as pb
from pageann.server.version import OpenVersion
from pageann.server.work import BlockingWork
from pageann.wire.results import search_response
from pageann.wire.vectors import pack_vectors, unpack_vectors

__all__ = ["Answering"]

_LEAST_SECONDS = 1e-6


class _Quality(NamedTuple):
    """How hard to look: one of the three, or none for the library's default."""

    recall: float | None
    effort: int | None
    exact: bool


def _quality(request: pb.SearchRequest | pb.ExplainRequest) -> _Quality:
    chosen = request.WhichOneof("quality")
    if chosen == "recall":
        return _Quality(request.recall, None, False)
    if chosen == "effort":
        return _Quality(None, request.effort, False)
    return _Quality(None, None, chosen == "exact" and bool(getattr(request, "exact", False)))


class Answering:
    """Answers requests within the limits of a server. Belongs to one event loop."""

    def __init__(self, config: ServerConfig, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._limits = RequestLimits.of_config(config)
        self._rates = RateLimits(config.rate_per_second, config.rate_burst)
        self.gate = Gate(config.concurrency, config.queue)
        self.blocking = BlockingWork(config.blocking_threads, config.queue)
        self.unsent = Unsent(config.unsent_bytes, config.send_seconds)
        self._counts_reads = bool(config.access_log) or config.tracing

    async def search(
        self,
        request: pb.SearchRequest,
        caller: Caller,
        entry: Entry,
        call_seconds: float,
        waited_seconds: float = 0.0,
    ) -> pb.SearchResponse:
        """The answer to a request of a call that ends in ``call_seconds``. Raises what the library raises.

        ``waited_seconds`` is how long ago the request arrived.
        """
        arrived = monotonic()
        served = self._registry.find(request.index)
        quality = _quality(request)
        rows = request.queries.rows
        k = self._limits.check_search(request)
        entry.index, entry.queries, entry.k = served.name, rows, k
        ranged = request.HasField("radius")
        self._note_quality(quality, ranged, entry)
        seconds = call_seconds
        if request.HasField("deadline_seconds"):
            seconds = min(max(soft_seconds(request) - waited_seconds, _LEAST_SECONDS), call_seconds)
        self._rates.spend(caller.name, rows or 1)
        self.unsent.require_room(expected_bytes(request, k))
        queries = unpack_vectors(
            request.queries, most_rows=self._limits.most_queries, most_dim=self._limits.most_dim
        )
        max_page_reads = request.max_page_reads if request.HasField("max_page_reads") else None
        result: SearchResult | RangeResult
        if quality.exact or ranged:
            options: dict[str, Any] = {**quality._asdict(), "max_page_reads": max_page_reads}
            if ranged:
                options |= {"radius": request.radius, "max_results": self._limits.most_results}
            result = await self._search_blocking(served.take(), queries, k, seconds, arrived, options)
        else:
            result = await self._search(served.take(), queries, k, seconds, arrived, quality, max_page_reads)
        if result.stats is not None and self._counts_reads:
            entry.reads = int(result.stats.reads.sum())
        return search_response(result, with_stats=request.stats)

    async def _search(
        self,
        version: OpenVersion,
        queries: Any,
        k: int,
        seconds: float,
        arrived: float,
        quality: _Quality,
        max_page_reads: int | None,
    ) -> SearchResult:
        gate = self.gate
        try:
            if not gate.try_enter():
                await gate.enter(seconds)
            started = monotonic()
            try:
                return await version.index.asearch(
                    queries,
                    k,
                    recall=quality.recall,
                    effort=quality.effort,
                    deadline=_left(seconds, started - arrived),
                    max_page_reads=max_page_reads,
                )
            finally:
                gate.leave(started)
        finally:
            version.let_go()

    async def _search_blocking(
        self,
        version: OpenVersion,
        queries: Any,
        k: int,
        seconds: float,
        arrived: float,
        options: dict[str, Any],
    ) -> SearchResult | RangeResult:
        def search() -> SearchResult | RangeResult:
            left = _left(seconds, monotonic() - arrived)
            result: SearchResult | RangeResult = version.index.search(queries, k, deadline=left, **options)
            return result

        return await self.blocking.run(version, seconds, search)

    def _note_quality(self, quality: _Quality, ranged: bool, entry: Entry) -> None:
        counts = self._metrics.calls
        entry.exact, entry.effort, entry.ranged = quality.exact, quality.effort, ranged
        if quality.exact:
            counts.exact += 1
        elif quality.effort is not None:
            counts.effort += 1
        else:
            recall = entry.recall = DEFAULT_RECALL if quality.recall is None else quality.recall
            if 0.0 < recall <= 1.0:  # a sum that has met a NaN stays one
                counts.recall.observe(recall)

    async def get(
        self, request: pb.GetRequest, caller: Caller, entry: Entry, call_seconds: float
    ) -> pb.GetResponse:
        """Stored vectors by id."""
        served = self._registry.find(request.index)
        entry.index = served.name
        chosen = request.WhichOneof("ids")
        ids = list(request.string_ids.values if chosen == "string_ids" else request.int64_ids.values)
        self._limits.check_ids(len(ids))
        entry.queries = len(ids)
        self._rates.spend(caller.name, max(1, len(ids)))
        version = served.take()
        index = version.index
        row_bytes = index.dim * index.dtype.itemsize
        try:
            self._limits.check_vectors(len(ids), row_bytes)
            self.unsent.require_room(len(ids) * row_bytes)
        except PageANNError:
            version.let_go()
            raise
        vectors = await self.blocking.run(version, call_seconds, partial(index.get, ids))
        return pb.GetResponse(vectors=pack_vectors(vectors))

    async def explain(
        self, request: pb.ExplainRequest, caller: Caller, entry: Entry, call_seconds: float
    ) -> pb.ExplainResponse:
        """How one query is answered, page by page."""
        served = self._registry.find(request.index)
        entry.index = served.name
        entry.queries = request.query.rows
        k = entry.k = request.k or DEFAULT_K
        if k > self._limits.most_k:
            raise InvalidArgument(f"k={k}: this server answers up to {self._limits.most_k:,}")
        self._rates.spend(caller.name, 1)
        query = unpack_vectors(request.query, most_rows=1, most_dim=self._limits.most_dim, field="query")
        if len(query) != 1:
            raise InvalidArgument(f"query: {len(query)} rows; give one")
        quality = _quality(request)
        options: dict[str, Any] = {"recall": quality.recall, "effort": quality.effort}
        if request.HasField("max_page_reads"):
            options["max_page_reads"] = request.max_page_reads
        version = served.take()

        def work() -> pb.ExplainResponse:
            found = version.index.explain(query[0], k, truth=request.with_truth, **options)
            found = replace(found, path=served.name)  # paths are no business of the caller
            return pb.ExplainResponse(
                json=json.dumps(found.to_dict(), ensure_ascii=False), text=str(found), svg=found.to_svg()
            )

        return await self.blocking.run(version, call_seconds, work)


def _left(seconds: float, gone: float) -> float | None:
    """What is left of a deadline; None where there is none.

    A call that did not have to wait is begun however short its deadline: the library then answers
    with the best of one round.
    """
    return None if seconds == inf else max(seconds - gone, _LEAST_SECONDS)
