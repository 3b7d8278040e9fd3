"""A search as requests, of which large batches take several, and their answers as one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.client.values import query_array, real_number, whole_number
from pageann.errors import InvalidArgument, ServiceError
from pageann.results import QueryStats, RangeResult, SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import range_result, search_result
from pageann.wire.vectors import pack_vectors

__all__ = ["Search", "join_ranges", "join_searches"]

PART_QUERIES_MAX = 1000
PART_RESULTS_MAX = 100_000
PART_BYTES_MAX = 2 << 20
"""A request of this size passes the least limit on messages that gRPC sets by itself (4 MiB)."""
_LEAST_SECONDS = 1e-9


@dataclass(slots=True)
class Search:
    """A checked call. Nobody changes one; to be frozen would cost each call some microseconds."""

    index: str
    queries: NDArray[Any]
    k: int
    recall: float | None
    effort: int | None
    exact: bool
    radius: float | None
    deadline: float | None
    max_page_reads: int | None
    stats: bool

    @classmethod
    def checked(
        cls,
        index: str,
        queries: Any,
        k: Any,
        *,
        recall: Any,
        effort: Any,
        exact: Any,
        radius: Any,
        deadline: Any,
        max_page_reads: Any,
        stats: Any,
    ) -> Search:
        """Raises InvalidArgument for what a message cannot say; the rest is for the service to judge."""
        if (recall is not None) + (effort is not None) + bool(exact) > 1:
            raise InvalidArgument("recall, effort and exact exclude each other; give one of them")
        return cls(
            index,
            query_array(queries),
            whole_number("k", k, least=1),
            None if recall is None else real_number("recall", recall),
            None if effort is None else whole_number("effort", effort, least=1),
            bool(exact),
            None if radius is None else real_number("radius", radius),
            None if deadline is None else real_number("deadline", deadline),
            None if max_page_reads is None else whole_number("max_page_reads", max_page_reads, least=1),
            bool(stats),
        )

    def requests(self, clock: Callable[[], float] = time.monotonic) -> Iterator[pb.SearchRequest]:
        """The requests, each made when it is asked for: its deadline is what is left of the call's."""
        rows = self._rows_a_part()
        if len(self.queries) <= rows:
            yield self._request(self.queries, 0.0)
            return
        started = clock()
        for first in range(0, len(self.queries), rows):
            yield self._request(self.queries[first : first + rows], clock() - started)

    def _rows_a_part(self) -> int:
        row_bytes = max(1, self.queries.shape[1] * self.queries.itemsize)
        most = min(PART_QUERIES_MAX, PART_RESULTS_MAX // self.k, PART_BYTES_MAX // row_bytes)
        return max(1, int(most))

    def _request(self, queries: NDArray[Any], gone_seconds: float) -> pb.SearchRequest:
        deadline = self.deadline
        if deadline is not None and gone_seconds < deadline:
            deadline -= gone_seconds
        elif deadline is not None and deadline > 0:
            deadline = _LEAST_SECONDS
        request = pb.SearchRequest(
            index=self.index,
            queries=pack_vectors(queries),
            k=self.k,
            recall=self.recall,
            effort=self.effort,
            radius=self.radius,
            deadline_seconds=deadline,
            max_page_reads=self.max_page_reads,
            stats=self.stats,
        )
        if self.exact:
            request.exact = True
        return request

    def result(self, responses: Sequence[pb.SearchResponse]) -> SearchResult | RangeResult:
        """The result that the answers to all requests make. Raises ServiceError if they make none."""
        found: SearchResult | RangeResult
        if self.radius is None:
            found = join_searches([search_result(response, self.k) for response in responses])
        else:
            found = join_ranges([range_result(response) for response in responses])
        if len(found) != len(self.queries):
            raise ServiceError(f"the service answered {len(found)} queries; {len(self.queries)} were asked")
        return found


def join_searches(parts: Sequence[SearchResult]) -> SearchResult:
    """The results of parts of a batch as that of the whole."""
    if len(parts) == 1:
        return parts[0]
    return SearchResult(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.counts for part in parts]),
        _stats(parts),
        np.concatenate([part.complete for part in parts]),
    )


def join_ranges(parts: Sequence[RangeResult]) -> RangeResult:
    """The results of parts of a batch as that of the whole."""
    if len(parts) == 1:
        return parts[0]
    counts = np.concatenate([np.diff(part.lims) for part in parts])
    return RangeResult(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        _stats(parts),
        np.concatenate([part.complete for part in parts]),
    )


def _stats(parts: Sequence[SearchResult | RangeResult]) -> QueryStats | None:
    kept = [part.stats for part in parts if part.stats is not None]
    return QueryStats.concatenate(kept) if len(kept) == len(parts) else None
