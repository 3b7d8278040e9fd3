"""A result that went over the wire is the library's own: same types, shapes, padding, every bit.

Guarded: padding sent as answers, int64 ids through doubles, statistics that lose the shares of an exact
search; and a client that believes counts which its server made up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

import pageann
from pageann.results import RangeResult, SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import range_result, search_response, search_result
from tests.server.wire.samples import assert_same, range_results, search_results, stats_of


def sent(response: pb.SearchResponse) -> pb.SearchResponse:
    """What arrives."""
    return pb.SearchResponse.FromString(response.SerializeToString())


@given(search_results())
@settings(deadline=None)
def test_nearest_rows(result: SearchResult) -> None:
    response = sent(search_response(result))
    back = search_result(response, result.ids.shape[1])
    assert_same(back, result)
    assert len(response.distances) == 4 * result.counts.sum(), "padding is not sent"
    assert back.distances.flags.writeable


@given(range_results())
@settings(deadline=None)
def test_ranges(result: RangeResult) -> None:
    assert_same(range_result(sent(search_response(result))), result)


def test_warnings_come_with_and_without_statistics() -> None:
    stats = stats_of(1, seed=2)
    result = SearchResult(
        np.zeros((1, 1), np.int64),
        np.zeros((1, 1), np.float32),
        np.ones(1, np.int32),
        stats,
        np.ones(1, np.bool_),
    )
    assert stats.warnings
    assert list(search_response(result).warnings) == list(stats.warnings)
    bare = search_response(result, with_stats=False)
    assert list(bare.warnings) == list(stats.warnings)
    assert not bare.HasField("stats")


def one_row_each(queries: int) -> SearchResult:
    """Answers of one row, with statistics."""
    return SearchResult(
        np.zeros((queries, 1), np.int64),
        np.zeros((queries, 1), np.float32),
        np.ones(queries, np.int32),
        stats_of(queries, seed=0),
        np.ones(queries, np.bool_),
    )


def cut_distances(response: pb.SearchResponse) -> None:
    response.distances = response.distances[:-1]


def drop_ids(response: pb.SearchResponse) -> None:
    response.ClearField("int64_ids")


def drop_an_id(response: pb.SearchResponse) -> None:
    response.int64_ids.values.pop()


def too_many_for_k(response: pb.SearchResponse) -> None:
    response.counts[:] = [2]


def huge_count(response: pb.SearchResponse) -> None:
    response.counts[:] = [2**32 - 1]


def unknown_query_incomplete(response: pb.SearchResponse) -> None:
    response.incomplete.append(7)


def short_statistics(response: pb.SearchResponse) -> None:
    response.stats.hops.pop()


def too_many_shared_reads(response: pb.SearchResponse) -> None:
    response.stats.shared_reads.append(1)


def no_reason(response: pb.SearchResponse) -> None:
    response.stats.stopped[:] = [pb.STOP_REASON_UNSPECIFIED]


@pytest.mark.parametrize(
    "spoil",
    [
        cut_distances,
        drop_ids,
        drop_an_id,
        too_many_for_k,
        huge_count,
        unknown_query_incomplete,
        short_statistics,
        too_many_shared_reads,
        no_reason,
    ],
)
def test_a_senseless_answer_is_refused(spoil: Callable[[pb.SearchResponse], None]) -> None:
    good = one_row_each(1)
    response = search_response(good)
    assert_same(search_result(response, 1), good)
    spoil(response)
    with pytest.raises(pageann.ServiceError):
        search_result(response, 1)


def test_a_service_that_does_not_tell_shared_reads_is_understood() -> None:
    result = one_row_each(2)
    assert result.stats is not None
    response = search_response(result)
    assert len(response.stats.shared_reads) == 2
    del response.stats.shared_reads[:]
    stats = search_result(response, 1).stats
    assert stats is not None
    assert stats.shared_reads.tolist() == [0, 0]
    assert stats.reads.tolist() == result.stats.reads.tolist()
