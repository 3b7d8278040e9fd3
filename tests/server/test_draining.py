"""SIGTERM under load: calls that were begun are answered, and callers who try again find the other server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from pageann.client import Client
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.program import Served
from tests.server.serving import SECONDS, Caller, Load, SlowIndex, calling, code_of, eventually, served

Code = grpc.StatusCode
THREADS = 8


class PatientLoad(Load):
    """Searches by the client of the library, which tries again where nobody answers.

    A stub over a channel of the usual options would not do: a connection that the closing server had yet
    to accept is lost, and gRPC then refuses calls for a second before it connects again.
    """

    def __init__(self, address: str, queries: NDArray[Any]) -> None:
        self._client = Client(address, retries=10, timeout=SECONDS, channels=THREADS)
        super().__init__(address, queries, THREADS)

    def attempt(self, caller: Caller, query: NDArray[Any]) -> None:
        self._client.search(query, k=5)

    def end(self) -> None:
        super().end()
        self._client.close()


def test_one_of_two_servers_goes_down_under_load(sample: Sample) -> None:
    arguments = (sample.path, "--reuse-port", "--metrics-listen", "", "--threads", "1")
    with Served(*arguments, "--listen", "127.0.0.1:0") as first:
        address = first.address()
        with Served(*arguments, "--listen", address) as second:
            second.address()
            with PatientLoad(address, sample.queries) as load:
                load.wait_for(200)
                assert first.end() == 0
                load.wait_for(200)
                load.end()
                assert load.failures == []
            assert second.end(signal.SIGINT) == 0
            assert any("stopped" in line for line in second.lines)


def test_calls_that_run_are_answered_and_new_ones_refused(sample: Sample) -> None:
    with (
        served(sample.path) as server,
        calling(server.address, alone=True) as caller,
        ThreadPoolExecutor(5) as threads,
    ):
        slow = SlowIndex(server, 1.0)
        running = [threads.submit(caller.search, query, k=3) for query in sample.queries[:4]]
        eventually(lambda: slow.begun == 4, "the calls are at work")
        stopping = threads.submit(server.stop)
        eventually(
            lambda: code_of(lambda: late_call(server.address, sample)) is Code.UNAVAILABLE,
            "new calls are refused",
        )
        assert [len(call.result().counts) for call in running] == [1] * 4
        stopping.result()


def late_call(address: str, sample: Sample) -> None:
    """One call over a new connection, which is not waited for long."""
    with calling(address, alone=True) as caller:
        caller.search(sample.queries[0], timeout=0.5)


def test_calls_beyond_the_drain_time_are_cut_off(sample: Sample) -> None:
    with served(sample.path, drain_seconds=0.2) as server, ThreadPoolExecutor(1) as threads:
        slow = SlowIndex(server, 20.0)
        with calling(server.address) as caller:
            running = threads.submit(lambda: code_of(lambda: caller.search(sample.queries[0])))
            eventually(lambda: slow.begun == 1, "the call is at work")
            server.stop()
            assert running.result() in (Code.UNAVAILABLE, Code.CANCELLED)
        assert slow.cancelled == 1


def test_an_open_stream_does_not_hold_it_up(sample: Sample) -> None:
    with served(sample.path) as server, calling(server.address) as caller:
        held = threading.Event()
        request = pb.SearchRequest(queries=pack_vectors(sample.queries[:1]))

        def requests() -> Iterator[pb.SearchStreamRequest]:
            yield pb.SearchStreamRequest(tag=1, request=request)
            held.wait(SECONDS)

        answers = caller.stub.SearchStream(requests())
        assert next(answers).tag == 1
        watching = health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        server.stop()
        held.set()
        assert code_of(lambda: next(answers)) is Code.UNAVAILABLE


def test_health_goes_before_the_calls(sample: Sample) -> None:
    with (
        served(sample.path, notice_seconds=1.0) as server,
        calling(server.address) as caller,
        ThreadPoolExecutor(1) as threads,
    ):
        health = health_pb2_grpc.HealthStub(caller.channel)

        def status(name: str) -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5.0).status)

        for name in ("", "sample", "pageann.v1.SearchService"):
            assert status(name) == health_pb2.HealthCheckResponse.SERVING
        assert code_of(lambda: status("nothing")) is Code.NOT_FOUND
        stopping = threads.submit(server.stop)
        eventually(lambda: status("") == health_pb2.HealthCheckResponse.NOT_SERVING, "health tells it")
        assert code_of(lambda: caller.search(sample.queries[0])) is Code.OK
        stopping.result()


def test_killed_in_the_middle_of_calls(sample: Sample) -> None:
    with Served(sample.path, "--listen", "127.0.0.1:0", "--metrics-listen", "") as program:
        address = program.address()
        with Load(address, sample.queries, threads=4) as load:
            load.wait_for(50)
            program.process.kill()
            eventually(lambda: len(load.failures) >= 4, "callers are told")
            load.end()
            assert {error.code() for error in load.failures} == {Code.UNAVAILABLE}  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_idle(sample: Sample, number: int) -> None:
    with Served(sample.path, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0") as program:
        program.address()
        assert program.end(number) == 0
        assert not any("Traceback" in line for line in program.lines)
