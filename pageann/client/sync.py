"""The client for threads."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self, overload

import grpc
import numpy as np
from numpy.typing import NDArray

from pageann.client.attempts import Attempts, RetryPolicy
from pageann.client.channels import ClientTls, Methods
from pageann.client.explanation import RemoteExplanation, explanation_of
from pageann.client.facts import IndexInfo, index_info
from pageann.client.searches import Search
from pageann.client.session import Fetch, Session, explain_request, infos_of
from pageann.results import Ledger, RangeResult, SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.statuses import error_of

__all__ = ["Client"]


class Client:
    """An index behind a search service, with the calls and results of :class:`pageann.Index`.

    ``address`` is HOST:PORT; ``index`` may be left out where the service holds one. ``timeout`` bounds
    each call in seconds, retries and all parts of a large batch included; calls that found nobody
    (UNAVAILABLE) are tried ``retries`` times more. With several ``channels`` calls take turns over so many
    connections. Without ``tls`` everything, the key too, travels in the clear.

    Use it from any number of threads; close it, or use ``with``. Besides the errors of the library calls
    raise ServiceUnavailable, Overloaded (with ``retry_after_seconds``), Unauthenticated,
    PermissionRefused, ServiceError, and DeadlineUnserved where ``timeout`` passed.
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
        self._methods = Methods(self._session.target.open(grpc))
        self._closing = threading.Event()

    def __repr__(self) -> str:
        return f"<pageann.client.Client {self._session!r}>"

    @overload
    def search(
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
    def search(
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

    def search(
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
        return search.result([self._call("Search", request, attempts) for request in search.requests()])

    def get(self, ids: Any, *, timeout: float | None = None) -> NDArray[Any]:
        """The stored vectors (m, dim) of ``ids``, byte for byte; UnknownId for any other."""
        attempts = self._session.begin(timeout)
        fetch = Fetch(self._session.index, ids)
        for request in fetch.requests():
            fetch.add(self._call("Get", request, attempts))
        return fetch.vectors()

    def explain(
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
        return explanation_of(self._call("Explain", request, attempts))

    def info(self, *, timeout: float | None = None) -> IndexInfo:
        """What the index says of itself now."""
        request = pb.GetIndexRequest(index=self._session.index)
        return index_info(self._call("GetIndex", request, self._session.begin(timeout)).index)

    def describe(self) -> dict[str, Any]:
        """Everything that ``pageann inspect`` shows, without paths."""
        return self.info().description

    def list_indexes(self, *, timeout: float | None = None) -> list[IndexInfo]:
        """All indexes that the service holds."""
        return infos_of(self._call("ListIndexes", pb.ListIndexesRequest(), self._session.begin(timeout)))

    def reload(self, *, timeout: float | None = None) -> bool:
        """Let the service open the version now on disk; whether it is another. Needs an admin's key."""
        request = pb.ReloadRequest(index=self._session.index)
        return bool(self._call("Reload", request, self._session.begin(timeout)).changed)

    @property
    def rows(self) -> int:
        """Number of vectors. Asks the service, as all facts here do: an index may be replaced meanwhile."""
        return self.info().rows

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return self.info().dim

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Element type of the stored vectors."""
        return self.info().dtype

    @property
    def metric(self) -> str:
        """``l2``, ``ip`` or ``cosine``."""
        return self.info().metric

    @property
    def ledger(self) -> Ledger:
        """What the memory budget of the index is spent on in the service."""
        return self.info().ledger

    def __len__(self) -> int:
        return self.rows

    def _call(self, method: str, request: Any, attempts: Attempts) -> Any:
        """The answer to ``request``, tried as often as ``attempts`` allows."""
        session = self._session
        while True:
            try:
                response = self._methods[method](
                    request, timeout=attempts.seconds_left(), metadata=session.metadata
                )
            except grpc.RpcError as failed:
                session.require_open()  # a call that close() ended is no failure of the service
                pause = attempts.pause_after(failed)
                if pause is None:
                    raise error_of(failed, session.address) from None
            except ValueError:  # gRPC's way to say that the channel was closed meanwhile
                session.require_open()
                raise
            else:
                attempts.succeeded()
                return response
            self._closing.wait(pause)
            session.require_open()

    def close(self) -> None:
        """Close the connections; calls that run end with an error. A second call does nothing."""
        self._session.closed = True
        self._closing.set()
        for channel in self._methods.channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
