"""A service that answers by the test's own function: for what no real one can be made to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from pageann.errors import PageANNError
from pageann.results import SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import search_response
from pageann.wire.statuses import status_of

__all__ = ["FakeService", "answer", "fake_service"]

Answer = Callable[[pb.SearchRequest, Any], pb.SearchResponse]


def answer(rows: int, k: int, first: int = 0) -> pb.SearchResponse:
    """An answer to ``rows`` queries: k times the number of the query, from ``first`` on."""
    ids = np.repeat(np.arange(first, first + rows), k).reshape(rows, k)
    counts = np.full(rows, k, np.int32)
    return search_response(SearchResult(ids, ids.astype(np.float32), counts, None, np.ones(rows, np.bool_)))


class FakeService:
    """Answers Search by ``script``, and keeps the requests, their metadata and the time that was left."""

    def __init__(self, script: Answer) -> None:
        self.script = script
        self.requests: list[pb.SearchRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.seconds_left: list[float | None] = []
        self.peers: set[str] = set()

    def search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        """The handler."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.seconds_left.append(context.time_remaining())
        self.peers.add(context.peer())
        try:
            return self.script(request, context)
        except PageANNError as error:
            status = status_of(error)
            context.set_trailing_metadata(status.trailing_metadata)
            context.abort(status.code, status.message)
            raise AssertionError("abort raises") from error


@contextmanager
def fake_service(script: Answer, address: str = "127.0.0.1:0") -> Iterator[tuple[str, FakeService]]:
    """(address, service) of a server that runs inside."""
    service = FakeService(script)
    handler = grpc.unary_unary_rpc_method_handler(
        service.search,
        request_deserializer=pb.SearchRequest.FromString,
        response_serializer=pb.SearchResponse.SerializeToString,
    )
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("pageann.v1.SearchService", {"Search": handler}),)
        )
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield f"127.0.0.1:{port}", service
        finally:
            server.stop(0).wait()
