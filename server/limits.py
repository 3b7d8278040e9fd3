"""What one request may ask for, checked before anything is allocated for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from pageann.errors import InvalidArgument
from pageann.server.config import ServerConfig
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["RequestLimits", "expected_bytes", "soft_seconds"]

DEFAULT_K = 10
_BYTES_A_RESULT = 24
"""A distance, and an id as it is encoded; string ids take more."""
_BYTES_A_QUERY_STATS = 100


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The most that one request may ask for."""

    most_k: int
    most_queries: int
    most_results: int
    most_dim: int
    message_bytes: int

    @classmethod
    def of_config(cls, config: ServerConfig) -> RequestLimits:
        """The limits that the operator chose."""
        return cls(
            config.most_k,
            config.most_queries,
            config.most_results,
            config.most_dim,
            config.message_bytes,
        )

    def check_search(self, request: pb.SearchRequest) -> int:
        """The k of a request. Raises InvalidArgument naming what is too much."""
        k = request.k or DEFAULT_K
        queries = request.queries.rows
        if k > self.most_k:
            raise InvalidArgument(f"k={k}: this server answers up to {self.most_k:,}")
        if queries > self.most_queries:
            raise InvalidArgument(
                f"queries: {queries:,} in one request; this server takes up to {self.most_queries:,}, "
                "send them in parts"
            )
        if queries * k > self.most_results:
            raise InvalidArgument(
                f"queries: {queries:,} with k={k} ask for more than the {self.most_results:,} results that "
                "one request may have; send them in parts"
            )
        return k

    def check_ids(self, count: int) -> None:
        """InvalidArgument if one Get asks for more than one request may."""
        if count > self.most_queries:
            raise InvalidArgument(
                f"ids: {count:,} in one request; this server takes up to {self.most_queries:,}, "
                "send them in parts"
            )

    def check_vectors(self, count: int, row_bytes: int) -> None:
        """InvalidArgument if one Get asks for more bytes than a message may have; one vector it may have."""
        if count > 1 and count * row_bytes > self.message_bytes:
            raise InvalidArgument(
                f"ids: {count:,} vectors of {row_bytes:,} bytes; this server sends up to "
                f"{self.message_bytes:,} bytes in one answer, ask in parts"
            )


def soft_seconds(request: pb.SearchRequest) -> float:
    """The deadline that the request states; inf where it states none. Raises InvalidArgument."""
    if not request.HasField("deadline_seconds"):
        return inf
    seconds = request.deadline_seconds
    if isnan(seconds) or seconds <= 0:
        raise InvalidArgument(f"deadline_seconds={seconds!r}: give seconds from now, above 0")
    return seconds


def expected_bytes(request: pb.SearchRequest, k: int) -> int:
    """About how large the answer will be."""
    stats = _BYTES_A_QUERY_STATS if request.stats else 0
    return request.queries.rows * (k * _BYTES_A_RESULT + stats)
