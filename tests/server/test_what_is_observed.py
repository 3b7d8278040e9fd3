"""Metrics, the log and spans tell what an operator needs, and never vectors, ids or keys."""

from __future__ import annotations

import errno
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from pageann.server.access_log import AccessLog, Entry
from pageann.server.keys import hashed_line
from pageann.server.tallies import Tally
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.serving import SECONDS, Caller, calling, code_of, eventually, figures, served

KEY = "secret-" + "s" * 24


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The log so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_log_tells_calls_and_no_secrets(sample: Sample, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    settings = {"access_log": str(log), "keys": (hashed_line("alice", "read", KEY),)}
    with served(sample.path, **settings) as server, grpc.insecure_channel(server.address) as channel:
        alice = Caller(channel, KEY)
        alice.search(sample.queries[:3], k=4, recall=0.9, stats=True)
        request = pb.SearchRequest(queries=pack_vectors(sample.queries[:1]), exact=True)
        metadata = [("x-api-key", KEY), ("x-request-id", "mine-7")]
        alice.stub.Search(request, timeout=SECONDS, metadata=metadata)
        alice.stub.Search(request, timeout=SECONDS, metadata=[*metadata[:1], ("x-request-id", "bad id")])
        assert code_of(lambda: alice.search(sample.queries[0], k=10**6)) is grpc.StatusCode.INVALID_ARGUMENT
        assert code_of(lambda: Caller(channel, "wrong" * 9).search(sample.queries[0])) is not None
        eventually(lambda: len(lines_of(log)) == 5, "five lines")
    lines = lines_of(log)
    first = lines[0]
    assert (first["method"], first["caller"], first["index"]) == ("Search", "alice", "sample")
    assert (first["queries"], first["k"], first["quality"]) == (3, 4, "recall 0.9")
    assert first["status"] == "OK"
    assert first["duration_us"] > 0
    assert lines[1]["request_id"] == "mine-7"
    assert lines[1]["quality"] == "exact"
    assert "bad" not in lines[2]["request_id"]
    assert (lines[3]["status"], lines[3]["reason"]) == ("INVALID_ARGUMENT", "invalid-argument")
    assert lines[4]["status"] == "UNAUTHENTICATED"
    assert "caller" not in lines[4]
    assert len({line["request_id"] for line in lines}) == 5
    text = log.read_text()
    assert KEY not in text
    assert "wrong" not in text
    allowed = {"time", "quality", *Entry.__slots__}
    assert all(set(line) <= allowed for line in lines)


def test_the_log_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.write(Entry("Search", "a"))
    log.refresh()
    os.rename(path, tmp_path / "access.log.1")
    log.write(Entry("Search", "b"))
    log.refresh()
    log.write(Entry("Search", "c"))
    log.close()
    assert [line["request_id"] for line in lines_of(tmp_path / "access.log.1")] == ["a", "b"]
    assert [line["request_id"] for line in lines_of(path)] == ["c"]


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    log = AccessLog("/dev/full")
    for number in range(3):
        log.write(Entry("Search", str(number)))
        log.refresh()
    log.write(Entry("Search", "a"))
    log.write(Entry("Search", "b"))
    log.close()
    assert log.lost == 5


def test_lines_that_were_lost_are_told(sample: Sample) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    settings = {"access_log": "/dev/full", "metrics_listen": "127.0.0.1:0"}
    with served(sample.path, **settings) as server, calling(server.address) as caller:
        for query in sample.queries[:3]:
            caller.search(query)
        eventually(lambda: figures(server)["pageann_access_log_lost_total"] == 3, "lost lines are counted")


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, room = tmp_path / "access.log", os.write, [100]

    def small_disk(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "full")
        room[0] -= (written := write(file, data[: room[0]]))
        return written

    log = AccessLog(str(path))
    monkeypatch.setattr(os, "write", small_disk)
    for name in "ab":
        log.write(Entry("Search", name))
    log.refresh()
    room[0] = 1000
    log.write(Entry("Search", "c"))
    log.close()
    first, cut, last = path.read_text().splitlines()
    assert json.loads(first)["request_id"] == "a"
    assert json.loads(last)["request_id"] == "c"
    assert len(first) + 1 + len(cut) == 100
    assert log.lost == 1


@given(st.lists(st.floats(0, 3)))
def test_a_tally_is_a_histogram(values: list[float]) -> None:
    bounds = (0.5, 1.0, 2.0)
    registry = CollectorRegistry()
    theirs, ours = Histogram("h", "", buckets=bounds, registry=registry), Tally(bounds)
    for value in values:
        theirs.observe(value)
        ours.observe(value)
    (family,) = registry.collect()
    buckets, total = ours.buckets()
    assert buckets == [(each.labels["le"], each.value) for each in family.samples if "le" in each.labels]
    assert total == next(each.value for each in family.samples if each.name == "h_sum")


def test_metrics(sample: Sample) -> None:
    settings = {"metrics_listen": "127.0.0.1:0", "memory": str(sample.least_bytes())}
    with served(sample.path, **settings) as server, calling(server.address) as caller:
        caller.search(sample.queries, k=4)
        caller.search(sample.queries[0], recall=0.8)
        caller.search(sample.queries[0], effort=50)
        caller.search(sample.queries[0], exact=True)
        code_of(lambda: caller.search(sample.queries[0], index="nowhere"))
        eventually(
            lambda: figures(server).get('pageann_requests_total{method="Search",status="OK"}') == 4,
            "calls are counted",
        )
        found = figures(server)
        assert found['pageann_requests_total{method="Search",status="NOT_FOUND"}'] == 1
        assert found['pageann_rejected_total{reason="index-not-found"}'] == 1
        assert found['pageann_request_seconds_count{method="Search"}'] == 5
        assert found["pageann_recall_asked_count"] == 2
        assert found['pageann_recall_asked_bucket{le="0.8"}'] == 1
        assert (found["pageann_effort_asked_total"], found["pageann_exact_asked_total"]) == (1, 1)
        assert found['pageann_index_queries_total{index="sample"}'] == len(sample.queries) + 3
        assert found['pageann_index_reads_total{index="sample"}'] > 0
        assert found['pageann_index_serving{index="sample"}'] == 1
        with sample.open(settings["memory"]) as index:
            assert found['pageann_index_resident_bytes{index="sample"}'] == index.ledger.total
        with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=SECONDS) as answer:
            assert str(sample.path) not in answer.read().decode()


def test_a_recall_that_is_none_spoils_no_sum(sample: Sample) -> None:
    with served(sample.path, metrics_listen="127.0.0.1:0") as server, calling(server.address) as caller:
        for recall in (float("nan"), 7.0):
            refused = code_of(lambda recall=recall: caller.search(sample.queries[0], recall=recall))
            assert refused is grpc.StatusCode.INVALID_ARGUMENT
        caller.search(sample.queries[0], recall=0.9)
        assert figures(server)["pageann_recall_asked_sum"] == pytest.approx(0.9)


def test_spans(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with served(sample.path, tracing=True) as server, calling(server.address) as caller:
        request = pb.SearchRequest(queries=pack_vectors(sample.queries[:2]), k=3)
        caller.stub.Search(request, timeout=SECONDS, metadata=[("traceparent", parent)])
        eventually(lambda: exporter.get_finished_spans(), "the span has ended")
    (span,) = exporter.get_finished_spans()
    assert span.name == "pageann.v1.SearchService/Search"
    assert f"{span.parent.span_id:x}" == "b7ad6b7169203331"
    assert span.attributes["pageann.queries"] == 2
    assert span.attributes["rpc.grpc.status"] == "OK"
