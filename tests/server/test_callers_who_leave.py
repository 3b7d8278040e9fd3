"""A call that is cancelled, or whose deadline has passed, is cancelled in the library too."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.serving import SlowIndex, calling, code_of, eventually, figures, served

Code = grpc.StatusCode
METRICS = "127.0.0.1:0"


def test_cancelled_and_expired_calls(sample: Sample) -> None:
    with served(sample.path, metrics_listen=METRICS) as server, calling(server.address) as caller:
        slow = SlowIndex(server, 20.0)
        request = pb.SearchRequest(queries=pack_vectors(sample.queries[:1]))
        pending = caller.stub.Search.future(request)
        eventually(lambda: slow.begun == 1, "the call is at work")
        pending.cancel()
        eventually(lambda: slow.cancelled == 1, "the search is cancelled")
        assert code_of(lambda: caller.search(sample.queries[0], timeout=0.2)) is Code.DEADLINE_EXCEEDED
        eventually(lambda: slow.cancelled == 2, "the search is cancelled")
        eventually(
            lambda: (
                figures(server).get('pageann_requests_total{method="Search",status="CANCELLED"}') == 1
                and figures(server).get('pageann_requests_total{method="Search",status="DEADLINE_EXCEEDED"}')
                == 1
            ),
            "both are counted",
        )
        assert figures(server)['pageann_calls_running{gate="search"}'] == 0


def test_a_cancelled_stream(sample: Sample) -> None:
    with served(sample.path, metrics_listen=METRICS) as server, calling(server.address) as caller:
        slow = SlowIndex(server, 20.0)
        ending = threading.Event()

        def requests():  # type: ignore[no-untyped-def]
            for tag in range(5):
                queries = pack_vectors(sample.queries[:1])
                yield pb.SearchStreamRequest(tag=tag, request=pb.SearchRequest(queries=queries))
            ending.wait(20.0)

        answers = caller.stub.SearchStream(requests())
        eventually(lambda: slow.begun == 5, "the requests are at work")
        answers.cancel()
        eventually(lambda: slow.cancelled == 5, "the searches are cancelled")
        ending.set()
        eventually(lambda: not server.running._streams._readers, "the stream is forgotten")


def test_a_soft_deadline_brings_what_there_is(sample: Sample) -> None:
    # A budget without room for pages, so that a search takes several rounds.
    memory = str(sample.least_bytes())
    with served(sample.path, memory=memory) as server, calling(server.address) as caller:
        answer = caller.search(sample.queries, k=5, effort=60, deadline_seconds=1e-9)
        assert len(answer.counts) == len(sample.queries)
        assert len(answer.incomplete) > 0


def test_a_client_that_is_killed(sample: Sample) -> None:
    with served(sample.path) as server:
        slow = SlowIndex(server, 20.0)
        with calling(server.address, alone=True) as caller:
            pending = caller.stub.Search.future(pb.SearchRequest(queries=pack_vectors(sample.queries[:1])))
            eventually(lambda: slow.begun == 1, "the call is at work")
        eventually(lambda: slow.cancelled == 1, "the search is cancelled")
        assert pending.done()


@pytest.mark.parametrize("options", [{"exact": True}, {"radius": 1e9}], ids=["exact", "range"])
def test_a_place_among_the_threads_comes_back(sample: Sample, options: dict[str, float]) -> None:
    with (
        served(sample.path, blocking_threads=1, queue=50) as server,
        calling(server.address) as caller,
        ThreadPoolExecutor(20) as threads,
    ):
        statuses = threads.map(
            lambda number: code_of(
                lambda: caller.search(sample.queries, timeout=0.001 if number % 2 else 30.0, **options)
            ),
            range(40),
        )
        assert set(statuses) <= {Code.OK, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}
        gate = server.running._answering.blocking.gate
        eventually(lambda: (gate.inside, gate.waiting) == (0, 0), "all places are free")
        assert next(iter(server.running._registry))._current.users == 0  # type: ignore[union-attr]
        assert code_of(lambda: caller.search(sample.queries[0], **options)) is Code.OK
