"""A batch of any size is one call: it goes out in parts, and comes back in order as one result.

Guarded: a message over the limit; parts that each get the whole deadline; offsets of a range search that
are those of its part; warnings told as often as there are parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pageann
from pageann.client import searches, session
from pageann.client.searches import Search, join_ranges, join_searches
from pageann.client.session import Fetch
from pageann.results import QueryStats, RangeResult, SearchResult
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.client.fake_service import answer, fake_service
from tests.server.serving import ServerThread
from tests.server.wire.samples import assert_same

Connect = Callable[..., Any]
OPTIONS: dict[str, Any] = {
    "recall": None,
    "effort": None,
    "exact": False,
    "radius": None,
    "deadline": None,
    "max_page_reads": None,
    "stats": True,
}


@pytest.mark.parametrize(
    ("rows", "dim", "k", "dtype"),
    [
        (2500, 3, 10, "float32"),
        (20, 65_536, 10, "float32"),
        (30, 4, 50_000, "uint8"),
        (5, 600_000, 1, "float32"),
    ],
)
def test_no_part_is_too_large(rows: int, dim: int, k: int, dtype: str) -> None:
    queries = np.zeros((rows, dim), dtype)
    requests = list(Search.checked("name", queries, k, **OPTIONS).requests())
    assert sum(request.queries.rows for request in requests) == rows
    assert len(requests) > 1
    for request in requests:
        many = request.queries.rows > 1
        assert not many or request.ByteSize() < 4 << 20
        assert request.queries.rows <= searches.PART_QUERIES_MAX
        assert not many or request.queries.rows * k <= searches.PART_RESULTS_MAX
        assert (request.index, request.k, request.queries.dim) == ("name", k, dim)


def test_a_deadline_is_shared_by_the_parts() -> None:
    now = [0.0]
    search = Search.checked("", np.zeros((3000, 2), np.float32), 10, **{**OPTIONS, "deadline": 1.0})
    found = []
    for request in search.requests(lambda: now[0]):
        found.append(request.deadline_seconds)
        now[0] += 0.75
    assert found[:2] == [1.0, 0.25]
    assert 0 < found[2] < 1e-6, "late parts still ask for the best so far"


def test_parts_arrive_in_order(connect: Connect) -> None:
    first = [0]

    def script(request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        rows = request.queries.rows
        first[0] += rows
        return answer(rows, request.k, first[0] - rows)

    with fake_service(script) as (address, service):
        found = connect(address).search(np.zeros((2345, 4), np.uint8), 2)
    assert found.ids[:, 0].tolist() == list(range(2345))
    assert found.ids.shape == found.distances.shape == (2345, 2)
    assert [request.queries.rows for request in service.requests] == [1000, 1000, 345]


def test_an_answer_to_fewer_queries_is_refused(connect: Connect) -> None:
    with (
        fake_service(lambda request, context: answer(1, request.k)) as (address, _),
        pytest.raises(pageann.ServiceError, match="1 queries; 3 were asked"),
    ):
        connect(address).search(np.zeros((3, 4), np.uint8))


def test_whole_and_in_parts_are_the_same(
    connect: Connect, sample: Sample, server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(server.address)
    options: list[dict[str, Any]] = [{"k": 4, "effort": 30}, {"radius": 40.0, "effort": 30}, {"exact": True}]
    whole = [client.search(sample.queries, **each, stats=False) for each in options]
    vectors = client.get(sample.ids)
    monkeypatch.setattr(searches, "PART_QUERIES_MAX", 7)
    monkeypatch.setattr(session, "FIRST_IDS", 3)
    monkeypatch.setattr(session, "PART_IDS_MAX", 11)
    for each, expected in zip(options, whole, strict=True):
        assert_same(client.search(sample.queries, **each, stats=False), expected)
    np.testing.assert_array_equal(client.get(sample.ids), vectors)
    np.testing.assert_array_equal(vectors, sample.base)


@pytest.mark.parametrize(("dim", "ids"), [(4, 2500), (65_536, 100), (600_000, 35)])
def test_vectors_are_asked_for_by_their_size(dim: int, ids: int) -> None:
    fetch, asked = Fetch("name", range(ids)), []
    for request in fetch.requests():
        rows = request.int64_ids.values
        asked.extend(rows)
        late = len(asked) > session.FIRST_IDS
        assert len(rows) == 1 or not late or len(rows) * dim <= session.PART_BYTES_MAX
        fetch.add(pb.GetResponse(vectors=pack_vectors(np.full((len(rows), dim), len(asked) % 7, np.uint8))))
    assert asked == list(range(ids))
    assert fetch.vectors().shape == (ids, dim)


def test_fewer_vectors_than_ids_are_refused() -> None:
    fetch = Fetch("name", [1, 2, 3])
    next(fetch.requests())
    with pytest.raises(pageann.ServiceError, match="2 vectors; 3 were asked"):
        fetch.add(pb.GetResponse(vectors=pack_vectors(np.zeros((2, 4), np.uint8))))


def stats_with(warnings: tuple[str, ...], rows: int) -> QueryStats:
    whole, real = np.arange(rows), np.arange(rows) / 2
    return QueryStats(
        whole, real, real, whole, whole, whole, whole, real, real, real, real, whole, whole % 4, warnings
    )


def test_warnings_are_told_once() -> None:
    parts = [
        SearchResult(
            np.zeros((2, 1), np.int64),
            np.zeros((2, 1), np.float32),
            np.ones(2, np.int32),
            stats_with(("recall may be missed",), 2),
            np.array([True, False]),
        )
    ] * 3
    joined = join_searches(parts)
    assert joined.stats is not None
    assert joined.stats.warnings == ("recall may be missed",)
    assert len(joined.stats) == len(joined) == 6
    assert joined.complete.tolist() == [True, False] * 3


def test_ranges_are_put_end_to_end() -> None:
    part = RangeResult(
        np.array([0, 2, 3]), np.array([5, 6, 7]), np.arange(3, dtype=np.float32), None, np.ones(2, np.bool_)
    )
    joined = join_ranges([part, part])
    assert joined.lims.tolist() == [0, 2, 3, 5, 6]
    assert joined.ids.tolist() == [5, 6, 7, 5, 6, 7]
    assert joined.stats is None
