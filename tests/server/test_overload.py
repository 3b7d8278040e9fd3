"""Ten times too many calls: some are answered in time, the rest shed; nobody waits past a deadline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from pageann.wire.statuses import DETAILS_KEY
from tests.library.samples import Sample
from tests.server.serving import Caller, SlowIndex, calling, code_of, eventually, figures, served

Code = grpc.StatusCode
CALL_SECONDS = 0.05
DEADLINE_SECONDS = 0.5
LATE_SECONDS = 0.4
"""For threads of this process to be scheduled."""


def timed(caller: Caller, sample: Sample) -> tuple[grpc.StatusCode | None, float]:
    """How a call with a deadline ended, and when."""
    started = monotonic()
    code = code_of(lambda: caller.search(sample.queries[0], timeout=DEADLINE_SECONDS))
    return code, monotonic() - started


def test_ten_times_the_load(sample: Sample) -> None:
    # Two at a time, 50 ms each: 40 calls a second. 40 clients without pause ask for ten times that.
    settings = {"concurrency": 2, "queue": 8, "metrics_listen": "127.0.0.1:0"}
    with served(sample.path, **settings) as server, ThreadPoolExecutor(40) as threads:
        slow = SlowIndex(server, CALL_SECONDS)
        outcomes: list[tuple[grpc.StatusCode | None, float]] = []

        def client(_: int) -> None:
            with calling(server.address) as caller:
                outcomes.extend(timed(caller, sample) for _ in range(10))

        list(threads.map(client, range(40)))
        codes = [code for code, _ in outcomes]
        assert set(codes) <= {Code.OK, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}
        assert codes.count(Code.OK) >= 10
        assert codes.count(Code.RESOURCE_EXHAUSTED) > codes.count(Code.OK)
        assert codes.count(Code.DEADLINE_EXCEEDED) < len(codes) / 20
        assert max(seconds for _, seconds in outcomes) < DEADLINE_SECONDS + LATE_SECONDS
        assert slow.most_at_once == 2
        found = figures(server)
        assert found['pageann_rejected_total{reason="overloaded"}'] >= codes.count(Code.RESOURCE_EXHAUSTED)
        assert found['pageann_queue_depth{gate="search"}'] == 0


def test_a_refusal_says_when_to_come_back(sample: Sample) -> None:
    with (
        served(sample.path, concurrency=1, queue=0) as server,
        ThreadPoolExecutor(1) as threads,
        calling(server.address) as caller,
    ):
        slow = SlowIndex(server, 0.5)
        first = threads.submit(caller.search, sample.queries[0])
        eventually(lambda: slow.begun == 1, "the first call is at work")
        try:
            caller.search(sample.queries[0])
        except grpc.RpcError as failed:
            error: Any = failed
        else:
            raise AssertionError("the second call was let in")
        assert error.code() is Code.RESOURCE_EXHAUSTED
        first.result()
        assert code_of(lambda: caller.search(sample.queries[0])) is Code.OK
        # Now that the server knows how long a call takes, it says so.
        second = threads.submit(caller.search, sample.queries[0])
        eventually(lambda: slow.begun == 3, "another call is at work")
        try:
            caller.search(sample.queries[0])
        except grpc.RpcError as failed:
            error = failed
        second.result()
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
        retry = error_details_pb2.RetryInfo()
        assert status.details[1].Unpack(retry)
        assert 0 < retry.retry_delay.ToTimedelta().total_seconds() < 10


def test_a_queued_call_past_its_deadline_is_not_begun(sample: Sample) -> None:
    with (
        served(sample.path, concurrency=1) as server,
        ThreadPoolExecutor(1) as threads,
        calling(server.address) as caller,
    ):
        slow = SlowIndex(server, 0.5)
        first = threads.submit(caller.search, sample.queries[0])
        eventually(lambda: slow.begun == 1, "the first call is at work")
        query = sample.queries[1]
        assert code_of(lambda: caller.search(query, timeout=0.1)) is Code.DEADLINE_EXCEEDED
        assert code_of(lambda: caller.search(query, deadline_seconds=0.1)) is Code.DEADLINE_EXCEEDED
        first.result()
        assert slow.begun == 1
        assert code_of(lambda: caller.search(query)) is Code.OK
        assert slow.begun == 2
