"""The client for coroutines."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, overload

import grpc
import grpc.aio
from numpy.typing import NDArray

from pageann.client.attempts import Attempts, RetryPolicy
from pageann.client.channels import ClientTls, Methods
from pageann.client.explanation import RemoteExplanation, explanation_of
from pageann.client.facts import IndexInfo, index_info
from pageann.client.searches import Search
from pageann.client.session import Fetch, Session, explain_request, infos_of
from pageann.results import RangeResult, SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.statuses import error_of

__all__ = ["AsyncClient"]


class AsyncClient:
    """:class:`pageann.client.Client` for coroutines: the same settings, calls, results and errors.

    It connects in the event loop that first calls it, and belongs to that loop from then on. A call whose
    task is cancelled is cancelled in the service too. Close it, or use ``async with``.
    """

    def __init__(
        self,
        address: str,
        index: str | None = None,
        *,
        api_key: str | None = None,
        tls: ClientTls | None = None,
        timeout: float | None = None,
        retries: int = 3,
        channels: int = 1,
    ) -> None:
        self._session = Session(address, index, api_key, tls, timeout, RetryPolicy(retries), channels)
        self._metadata = grpc.aio.Metadata(*self._session.metadata)
        self._methods: Methods | None = None

    def __repr__(self) -> str:
        return f"<pageann.client.AsyncClient {self._session!r}>"

    @overload
    async def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: None = None,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        stats: bool = True,
        timeout: float | None = None,
    ) -> SearchResult: ...

    @overload
    async def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: float,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        stats: bool = True,
        timeout: float | None = None,
    ) -> RangeResult: ...

    async def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        exact: bool = False,
        radius: float | None = None,
        deadline: float | None = None,
        max_page_reads: int | None = None,
        stats: bool = True,
        timeout: float | None = None,
    ) -> SearchResult | RangeResult:
        """:meth:`pageann.Index.search`, answered by the service.

        ``deadline`` ends the search early, with its best so far, and counts from the arrival of the
        request; ``timeout`` ends the call, with an error, and counts from now.
        """
        attempts = self._session.begin(timeout)
        search = Search.checked(
            self._session.index,
            queries,
            k,
            recall=recall,
            effort=effort,
            exact=exact,
            radius=radius,
            deadline=deadline,
            max_page_reads=max_page_reads,
            stats=stats,
        )
        return search.result([await self._call("Search", request, attempts) for request in search.requests()])

    async def get(self, ids: Any, *, timeout: float | None = None) -> NDArray[Any]:
        """The stored vectors (m, dim) of ``ids``, byte for byte; UnknownId for any other."""
        attempts = self._session.begin(timeout)
        fetch = Fetch(self._session.index, ids)
        for request in fetch.requests():
            fetch.add(await self._call("Get", request, attempts))
        return fetch.vectors()

    async def explain(
        self,
        query: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: int | None = None,
        max_page_reads: int | None = None,
        truth: bool = True,
        timeout: float | None = None,
    ) -> RemoteExplanation:
        """How the service answers one query, page by page; :meth:`pageann.Index.explain`."""
        attempts = self._session.begin(timeout)
        request = explain_request(self._session.index, query, k, recall, effort, max_page_reads, truth)
        return explanation_of(await self._call("Explain", request, attempts))

    async def info(self, *, timeout: float | None = None) -> IndexInfo:
        """What the index says of itself now."""
        request = pb.GetIndexRequest(index=self._session.index)
        response = await self._call("GetIndex", request, self._session.begin(timeout))
        return index_info(response.index)

    async def describe(self) -> dict[str, Any]:
        """Everything that ``pageann inspect`` shows, without paths."""
        return (await self.info()).description

    async def list_indexes(self, *, timeout: float | None = None) -> list[IndexInfo]:
        """All indexes that the service holds."""
        return infos_of(
            await self._call("ListIndexes", pb.ListIndexesRequest(), self._session.begin(timeout))
        )

    async def reload(self, *, timeout: float | None = None) -> bool:
        """Let the service open the version now on disk; whether it is another. Needs an admin's key."""
        request = pb.ReloadRequest(index=self._session.index)
        response = await self._call("Reload", request, self._session.begin(timeout))
        return bool(response.changed)

    async def _call(self, method: str, request: Any, attempts: Attempts) -> Any:
        """The answer to ``request``, tried as often as ``attempts`` allows."""
        session = self._session
        while True:
            try:
                response = await self._opened()[method](
                    request, timeout=attempts.seconds_left(), metadata=self._metadata
                )
            except grpc.RpcError as failed:
                session.require_open()  # a call that close() ended is no failure of the service
                pause = attempts.pause_after(failed)
                if pause is None:
                    raise error_of(failed, session.address) from None
            except (grpc.aio.UsageError, asyncio.CancelledError):
                session.require_open()
                raise
            else:
                attempts.succeeded()
                return response
            await asyncio.sleep(pause)
            session.require_open()

    def _opened(self) -> Methods:
        """The methods over channels of the running loop, opened when they are first wanted."""
        if self._methods is None:
            self._methods = Methods(self._session.target.open(grpc.aio))
        return self._methods

    async def close(self) -> None:
        """Close the connections; calls that run end with an error. A second call does nothing."""
        self._session.closed = True
        methods, self._methods = self._methods, None
        for channel in methods.channels if methods is not None else ():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
