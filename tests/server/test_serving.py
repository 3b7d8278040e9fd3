"""Answers over the wire are those of the library, and every mistake is a status that keeps our secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from pageann.server import ServerThread
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import range_result, search_result
from pageann.wire.statuses import DETAILS_KEY
from pageann.wire.vectors import pack_vectors, unpack_vectors
from tests.library.samples import Sample
from tests.server.serving import Caller, calling, code_of, served

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, {}),
        ({"effort": 60}, {"effort": 60}),
        ({"exact": True}, {"exact": True}),
        ({"recall": 0.9}, {"recall": 0.9}),
    ],
    ids=["default", "effort", "exact", "recall"],
)
def test_searches(caller: Caller, sample: Sample, options: dict[str, Any], same: dict[str, Any]) -> None:
    found = search_result(caller.search(sample.queries, k=7, stats=True, **options), 7)
    with sample.open() as index:
        expected = index.search(sample.queries, 7, **same)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.stats is not None
    assert expected.stats is not None
    np.testing.assert_allclose(found.stats.reads, expected.stats.reads)


def test_range_search(caller: Caller, sample: Sample) -> None:
    with sample.open() as index:
        radius = float(index.search(sample.queries[:1], 20).distances[0, -1])
        expected = index.search(sample.queries, radius=radius)
    found = range_result(caller.search(sample.queries, radius=radius))
    np.testing.assert_array_equal(found.lims, expected.lims)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_stored_vectors(caller: Caller, sample: Sample) -> None:
    response = caller.call("Get", pb.GetRequest(int64_ids=pb.Int64Ids(values=[5, 2, 5])))
    vectors = unpack_vectors(response.vectors, most_rows=3, most_dim=sample.kind.dim)
    np.testing.assert_array_equal(vectors, sample.base[[5, 2, 5]])


def test_explanations(caller: Caller, sample: Sample) -> None:
    query = pack_vectors(sample.queries[:1])
    answer = caller.call("Explain", pb.ExplainRequest(query=query, k=5, effort=60, with_truth=True))
    with sample.open() as index:
        expected = index.explain(sample.queries[0], 5, effort=60)
    assert json.loads(answer.json).keys() == expected.to_dict().keys()
    assert answer.text
    assert answer.svg.startswith("<svg")
    assert str(sample.path.parent) not in answer.json + answer.text + answer.svg
    two = pb.ExplainRequest(query=pack_vectors(sample.queries[:2]))
    assert code_of(lambda: caller.call("Explain", two)) is Code.INVALID_ARGUMENT


def test_facts_without_paths(caller: Caller, sample: Sample) -> None:
    info = caller.call("GetIndex", pb.GetIndexRequest(index="sample")).index
    assert (info.name, info.rows, info.dim) == ("sample", 900, 24)
    assert (info.dtype, info.metric, info.string_ids) == (pb.D_TYPE_FLOAT32, pb.METRIC_L2, False)
    assert info.ledger.total_bytes == sum(item.bytes for item in info.ledger.items) > 0
    assert '"calibration"' in info.description_json
    listed = caller.call("ListIndexes", pb.ListIndexesRequest()).indexes
    assert [each.version for each in listed] == [info.version]
    assert str(sample.path.parent) not in str(info) + str(listed)


def mistakes(sample: Sample) -> list[tuple[str, Callable[[Caller], Any], Code, str]]:
    """(what, a call, its status, the reason code)."""
    query = sample.queries[0]
    broken = pack_vectors(query[None])
    broken.data = broken.data[:-1]
    nan = query.copy()
    nan[3] = np.nan
    invalid = (Code.INVALID_ARGUMENT, "invalid-argument")
    return [
        ("dim", lambda c: c.search(query[:5]), *invalid),
        ("nan", lambda c: c.search(nan), *invalid),
        ("length", lambda c: c.call("Search", pb.SearchRequest(queries=broken)), *invalid),
        ("dtype", lambda c: c.call("Search", pb.SearchRequest(queries=pb.Vectors(rows=1, dim=2))), *invalid),
        ("huge k", lambda c: c.search(query, k=10_001), *invalid),
        ("results", lambda c: c.search(np.tile(query, (200, 1)), k=10_000), *invalid),
        ("recall", lambda c: c.search(query, recall=1.5), *invalid),
        ("effort", lambda c: c.search(query, effort=0), *invalid),
        ("deadline", lambda c: c.search(query, deadline_seconds=-1.0), *invalid),
        ("deadline nan", lambda c: c.search(query, deadline_seconds=float("nan")), *invalid),
        ("reads", lambda c: c.search(query, max_page_reads=0), *invalid),
        ("radius", lambda c: c.search(query, radius=float("inf")), *invalid),
        ("index", lambda c: c.search(query, index="nowhere"), Code.NOT_FOUND, "index-not-found"),
        ("id", lambda c: c.call("Get", pb.GetRequest(int64_ids=pb.Int64Ids(values=[10**6]))),
         Code.NOT_FOUND, "unknown-id"),
        ("kind of id", lambda c: c.call("Get", pb.GetRequest(string_ids=pb.StringIds(values=["x"]))),
         *invalid),
        ("ids", lambda c: c.call("Get", pb.GetRequest(int64_ids=pb.Int64Ids(values=range(10_001)))),
         *invalid),
    ]  # fmt: skip


def test_mistakes_are_statuses_without_secrets(caller: Caller, sample: Sample) -> None:
    for what, call, code, reason in mistakes(sample):
        with pytest.raises(grpc.RpcError) as caught:
            call(caller)
        error: Any = caught.value
        assert error.code() is code, (what, error)
        metadata = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(metadata[DETAILS_KEY])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (info.reason, info.domain) == (reason, "pageann"), what
        assert metadata["x-request-id"]
        told = error.details() + str(metadata)
        for secret in (str(sample.path.parent), "Traceback", ".py", "/work", "site-packages"):
            assert secret not in told, what


def test_a_huge_message_is_refused_and_the_server_goes_on(sample: Sample) -> None:
    with served(sample.path, message_bytes=1 << 16) as server, calling(server.address) as caller:
        many = np.tile(sample.queries[0], (1000, 1))
        assert code_of(lambda: caller.search(many)) is Code.RESOURCE_EXHAUSTED
        assert code_of(lambda: caller.search(sample.queries[0])) is Code.OK


def test_bytes_that_are_no_message(server: ServerThread, sample: Sample) -> None:
    with grpc.insecure_channel(server.address) as channel:
        search = channel.unary_unary("/pageann.v1.SearchService/Search")
        bad_utf8 = b"\x0a\x02\xff\xfe"
        for data in (b"\xff" * 50, bad_utf8, b"\x12\xff\xff\xff\xff\x0f"):
            # What gRPC itself says of bytes that its deserializer refuses.
            assert code_of(lambda data=data: search(data, timeout=10.0)) in (Code.INTERNAL, Code.UNKNOWN)
        assert code_of(lambda: Caller(channel).search(sample.queries[0])) is Code.OK


def test_an_unknown_method(server: ServerThread) -> None:
    with grpc.insecure_channel(server.address) as channel:
        nothing = channel.unary_unary("/pageann.v1.SearchService/Drop")
        assert code_of(lambda: nothing(b"", timeout=10.0)) is Code.UNIMPLEMENTED


def test_a_range_of_more_rows_than_a_request_may_have(sample: Sample) -> None:
    with served(sample.path, most_results=50, memory="16MiB") as server, calling(server.address) as caller:
        with pytest.raises(grpc.RpcError, match="more than 50 rows") as failed:
            caller.search(sample.queries[0], radius=1e9, k=1)
        assert failed.value.code() is Code.INVALID_ARGUMENT  # type: ignore[attr-defined]
        with sample.open() as index:
            near = float(index.search(sample.queries[:1], 20).distances[0, -1])
        assert sum(caller.search(sample.queries[0], radius=near, k=1).counts) >= 19
