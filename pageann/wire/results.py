"""Search results as messages and back, without loss.

Answers travel flat, without padding: ``counts`` cuts them by query. Reasons why a search stopped are
the library's plus one, since 0 means "not said" on the wire.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.errors import ServiceError
from pageann.results import QueryStats, RangeResult, SearchResult, StopReason
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["range_result", "search_response", "search_result"]

_WIRE_FLOAT = np.dtype("<f4")
_INTEGERS = ("hops", "codes_scored", "pinned_hits", "shared_reads", "effort")
_FLOATS = ("kib", "units", "route_us", "scan_us", "read_us", "total_us")


def search_response(result: SearchResult | RangeResult, *, with_stats: bool = True) -> pb.SearchResponse:
    """The message that tells ``result``, its warnings too; its statistics only ``with_stats``."""
    counts, ids, distances = (
        _flat_of_padded(result) if isinstance(result, SearchResult) else _flat_of_range(result)
    )
    response = pb.SearchResponse(counts=counts, distances=distances)
    if ids.dtype == object:
        response.string_ids.values.extend(ids.tolist())
        response.string_ids.SetInParent()
    else:
        response.int64_ids.values.extend(ids.tolist())
        response.int64_ids.SetInParent()
    if not result.complete.all():
        response.incomplete.extend(np.flatnonzero(~result.complete).tolist())
    if (stats := result.stats) is not None:
        if with_stats:
            response.stats.CopyFrom(_stats_message(stats))
        if stats.warnings:
            response.warnings.extend(stats.warnings)
    return response


def _flat_of_padded(result: SearchResult) -> tuple[list[int], NDArray[Any], bytes]:
    counts: list[int] = result.counts.tolist()
    ids, distances = result.ids, result.distances
    if sum(counts) == ids.size:  # nothing is padded, as nearly always
        flat_ids, flat_distances = ids.reshape(-1), distances
    else:
        real = np.arange(ids.shape[1]) < result.counts[:, None]
        flat_ids, flat_distances = ids[real], distances[real]
    return counts, flat_ids, flat_distances.astype(_WIRE_FLOAT, copy=False).tobytes()


def _flat_of_range(result: RangeResult) -> tuple[list[int], NDArray[Any], bytes]:
    distances = result.distances.astype(_WIRE_FLOAT, copy=False)
    return np.diff(result.lims).tolist(), result.ids, distances.tobytes()


def _stats_message(stats: QueryStats) -> pb.QueryStats:
    message = pb.QueryStats(
        reads=stats.reads.tolist(),
        stopped=(stats.stopped + 1).tolist(),
        warnings=stats.warnings,
    )
    for name in _INTEGERS + _FLOATS:
        getattr(message, name).extend(getattr(stats, name).tolist())
    return message


def search_result(response: pb.SearchResponse, k: int) -> SearchResult:
    """The result of a search for ``k`` rows, padded to them. Raises ServiceError for a senseless answer."""
    counts, ids, distances = _flat(response)
    queries = len(counts)
    if queries and max(counts) > k:
        raise ServiceError(f"the service answered a query with {max(counts)} rows; {k} were asked for")
    counted = np.array(counts, np.int32)
    if len(ids) == queries * k:
        padded_ids, padded_distances = ids.reshape(queries, k), distances.reshape(queries, k)
    else:
        real = np.arange(k) < counted[:, None]
        padded_ids = np.full((queries, k), None if ids.dtype == object else -1, dtype=ids.dtype)
        padded_distances = np.full((queries, k), np.inf, np.float32)
        padded_ids[real], padded_distances[real] = ids, distances
    return SearchResult(
        padded_ids, padded_distances, counted, _stats(response, queries), _complete(response, queries)
    )


def range_result(response: pb.SearchResponse) -> RangeResult:
    """The result of a range search. Raises ServiceError for a senseless answer."""
    counts, ids, distances = _flat(response)
    lims = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(np.array(counts, np.int64), out=lims[1:])
    return RangeResult(lims, ids, distances, _stats(response, len(counts)), _complete(response, len(counts)))


def _flat(response: pb.SearchResponse) -> tuple[list[int], NDArray[Any], NDArray[np.float32]]:
    """(entries of each query, ids, distances): the arrays own their memory and can be written to."""
    counts: list[int] = response.counts[:]
    kind = response.WhichOneof("ids")
    ids: NDArray[Any]
    if kind == "string_ids":
        ids = np.array(response.string_ids.values[:], object)
    elif kind == "int64_ids":
        ids = np.array(response.int64_ids.values[:], np.int64)
    else:
        raise ServiceError("the service answered without ids; is it of another version?")
    found, packed = sum(counts), response.distances
    if len(packed) != found * _WIRE_FLOAT.itemsize or len(ids) != found:
        raise ServiceError(
            f"the service answered with {len(ids)} ids and {len(packed)} bytes of distances "
            f"for {found} rows; is it of another version?"
        )
    return counts, ids, np.frombuffer(packed, _WIRE_FLOAT).astype(np.float32)


def _complete(response: pb.SearchResponse, queries: int) -> NDArray[np.bool_]:
    complete = np.ones(queries, np.bool_)
    if response.incomplete:
        cut = np.array(response.incomplete, np.int64)
        if cut.max() >= queries:
            raise ServiceError(f"the service calls query {cut.max()} incomplete; {queries} were asked")
        complete[cut] = False
    return complete


def _stats(response: pb.SearchResponse, queries: int) -> QueryStats | None:
    if not response.HasField("stats"):
        return None
    message = response.stats
    columns: dict[str, NDArray[Any]] = {
        name: np.array(getattr(message, name)[:], np.int64) for name in _INTEGERS
    }
    columns |= {name: np.array(getattr(message, name)[:], np.float64) for name in _FLOATS}
    if not len(columns["shared_reads"]):  # the first services of this protocol did not tell
        columns["shared_reads"] = np.zeros(queries, np.int64)
    stopped = np.array(message.stopped[:], np.int64) - 1
    reads = np.array(message.reads[:], np.float64)
    # An exact search, which has no effort, shares its reads out over the queries.
    if not len(reads) or columns["effort"].any():
        reads = reads.astype(np.int64)
    columns |= {"reads": reads, "stopped": stopped}
    if any(len(column) != queries for column in columns.values()):
        raise ServiceError("the service's statistics are not those of the queries; is it of another version?")
    if queries and not (stopped.min() >= 0 and stopped.max() <= max(StopReason)):
        raise ServiceError("the service names an unknown reason to stop; is it of another version?")
    return QueryStats(**columns, warnings=tuple(message.warnings))
