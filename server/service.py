"""The methods of ``pageann.v1.SearchService``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from pageann.server.access_log import Entry
from pageann.server.answering import Answering
from pageann.server.calls import Calls, Context, seconds_left
from pageann.server.info import index_info
from pageann.server.keys import Caller
from pageann.server.registry import Registry
from pageann.server.streams import Streams
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["SERVICE_NAME", "SearchService"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SearchService"].full_name


class SearchService:
    """Answers calls of gRPC; :meth:`handler` is what a server takes."""

    def __init__(self, calls: Calls, registry: Registry, answering: Answering, streams: Streams) -> None:
        self._calls = calls
        self._registry = registry
        self._answering = answering
        self._streams = streams

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """All methods, for ``Server.add_generic_rpc_handlers``."""
        unary = self._calls.unary
        handlers = {
            "Search": _unary(unary("Search", self._search), pb.SearchRequest, pb.SearchResponse),
            "Get": _unary(unary("Get", self._get), pb.GetRequest, pb.GetResponse),
            "Explain": _unary(unary("Explain", self._explain), pb.ExplainRequest, pb.ExplainResponse),
            "GetIndex": _unary(unary("GetIndex", self._get_index), pb.GetIndexRequest, pb.GetIndexResponse),
            "ListIndexes": _unary(
                unary("ListIndexes", self._list_indexes), pb.ListIndexesRequest, pb.ListIndexesResponse
            ),
            "Reload": _unary(
                unary("Reload", self._reload, as_admin=True), pb.ReloadRequest, pb.ReloadResponse
            ),
            "SearchStream": grpc.stream_stream_rpc_method_handler(
                self._calls.stream("SearchStream", self._streams.serve),
                pb.SearchStreamRequest.FromString,
                pb.SearchStreamResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    async def _search(
        self, request: pb.SearchRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.SearchResponse:
        response = await self._answering.search(request, caller, entry, seconds_left(context))
        self._answering.unsent.hand_over(response.ByteSize(), context)
        return response

    async def _get(
        self, request: pb.GetRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.GetResponse:
        response = await self._answering.get(request, caller, entry, seconds_left(context))
        self._answering.unsent.hand_over(len(response.vectors.data), context)
        return response

    async def _explain(
        self, request: pb.ExplainRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.ExplainResponse:
        response = await self._answering.explain(request, caller, entry, seconds_left(context))
        self._answering.unsent.hand_over(response.ByteSize(), context)
        return response

    async def _get_index(
        self, request: pb.GetIndexRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.GetIndexResponse:
        served = self._registry.find(request.index)
        entry.index = served.name
        return pb.GetIndexResponse(index=index_info(served))

    async def _list_indexes(
        self, request: pb.ListIndexesRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.ListIndexesResponse:
        infos = [
            index_info(served) if served.serving else pb.IndexInfo(name=served.name)
            for served in self._registry
        ]
        return pb.ListIndexesResponse(indexes=infos)

    async def _reload(
        self, request: pb.ReloadRequest, context: Context, caller: Caller, entry: Entry
    ) -> pb.ReloadResponse:
        served = self._registry.find(request.index)
        entry.index = served.name
        changed = await served.reload()
        return pb.ReloadResponse(index=index_info(served), changed=changed)


def _unary(
    behavior: Callable[..., Any], request: type[Message], response: type[Message]
) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        behavior, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )
