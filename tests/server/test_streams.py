"""Each request is answered once, by tag; one that fails spoils no other; of slow readers little is read."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator

import grpc
import numpy as np

from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import search_result
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.serving import Caller, SlowIndex, calling, code_of, eventually, served

Code = grpc.StatusCode


def request(sample: Sample, tag: int, **options: float) -> pb.SearchStreamRequest:
    """A request for the query of that number."""
    query = pack_vectors(sample.queries[tag % len(sample.queries)][None])
    return pb.SearchStreamRequest(tag=tag, request=pb.SearchRequest(queries=query, **options))


def test_every_request_is_answered_by_its_tag(caller: Caller, sample: Sample) -> None:
    requests = [request(sample, tag, k=3 + tag % 5) for tag in range(200)]
    answers = {answer.tag: answer for answer in caller.stub.SearchStream(iter(requests), timeout=30.0)}
    assert sorted(answers) == list(range(200))
    with sample.open() as index:
        for tag in range(0, 200, 17):
            expected = index.search(sample.queries[tag % len(sample.queries)], 3 + tag % 5)
            found = search_result(answers[tag].response, 3 + tag % 5)
            np.testing.assert_array_equal(found.ids, expected.ids)


def test_a_request_that_fails(caller: Caller, sample: Sample) -> None:
    requests = [request(sample, 1), request(sample, 2, k=10**6), request(sample, 3)]
    answers = {answer.tag: answer for answer in caller.stub.SearchStream(iter(requests), timeout=30.0)}
    assert [answers[tag].WhichOneof("outcome") for tag in (1, 2, 3)] == ["response", "error", "response"]
    error = answers[2].error
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "invalid-argument")


def test_a_deadline_counts_from_the_arrival_of_a_request(sample: Sample) -> None:
    with served(sample.path, concurrency=2) as server, calling(server.address) as caller:
        index = SlowIndex(server, 0.4)
        pending: queue.Queue[pb.SearchStreamRequest | None] = queue.Queue()
        answers = caller.stub.SearchStream(iter(pending.get, None))
        pending.put(request(sample, 1))
        eventually(lambda: index.begun == 1, "the first request is at work")
        pending.put(request(sample, 2, deadline_seconds=0.2))  # over when its turn comes
        pending.put(request(sample, 3, deadline_seconds=60.0))
        pending.put(None)
        assert [next(answers).tag for _ in range(3)] == [1, 2, 3]
        left = [options["deadline"] for options in index.options]
        assert left[0] is None
        assert left[1] < 0.001
        # It came while the first was at work, so it waited for all of the second's turn at least.
        assert 50.0 < left[2] < 60.0 - 0.4


def test_a_reader_who_takes_nothing_is_not_read_from(sample: Sample) -> None:
    def requests() -> Iterator[pb.SearchStreamRequest]:
        for tag in itertools.count():
            large = pack_vectors(np.tile(sample.queries[:1], (400, 1)))
            yield pb.SearchStreamRequest(tag=tag, request=pb.SearchRequest(queries=large, k=500))

    with served(sample.path, stream_requests=3, memory="16MiB") as server:
        index = SlowIndex(server, 0.0)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(server.address, options) as channel:
            answers = Caller(channel).stub.SearchStream(requests())
            assert next(answers).HasField("response")
            stream = server.running
            eventually(_Stillness(lambda: index.begun), "no more are taken")
            assert index.begun < 30
            with calling(server.address) as other:
                assert code_of(lambda: other.search(sample.queries[0])) is Code.OK
            answers.cancel()
        eventually(lambda: not stream._streams._readers, "the stream is forgotten")


class _Stillness:
    """Whether a number has been the same for the last 50 looks."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number, self._last, self._looks = number, -1, 0

    def __call__(self) -> bool:
        before, self._last = self._last, self._number()
        self._looks = self._looks + 1 if before == self._last else 0
        return self._looks >= 50


def test_more_streams_than_there_may_be(sample: Sample) -> None:
    with served(sample.path, streams=1) as server, calling(server.address) as caller:
        pending: queue.Queue[pb.SearchStreamRequest | None] = queue.Queue()
        pending.put(request(sample, 1))
        first = caller.stub.SearchStream(iter(pending.get, None), timeout=30.0)
        assert next(first).tag == 1
        second = caller.stub.SearchStream(iter([request(sample, 2)]), timeout=30.0)
        assert code_of(lambda: next(second)) is Code.RESOURCE_EXHAUSTED
        pending.put(None)
        assert list(first) == []
        third = caller.stub.SearchStream(iter([request(sample, 3)]), timeout=30.0)
        assert [answer.tag for answer in third] == [3]
