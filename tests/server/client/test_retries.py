"""Only a call that nobody has looked at is tried again, with growing pauses, and never past its timeout.

Guarded: a retry that doubles the load of a server which sheds it; clients that come back all at once; a
timeout that each try starts anew; a key or a deadline lost on the way to the second try.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

import pageann
from pageann.client.attempts import Attempts, RetryPolicy
from pageann.server.v1 import pageann_pb2 as pb
from tests.server.client.fake_service import answer, fake_service

QUERY = np.ones((1, 4), np.float32)
Connect = Callable[..., Any]


class Failed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


class Clock:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failing(times: int, error: pageann.PageANNError) -> Callable[[pb.SearchRequest, Any], pb.SearchResponse]:
    """Fails so many times, then answers."""
    left = [times]

    def script(request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return answer(request.queries.rows, request.k)

    return script


def test_pauses_double_up_to_a_limit_with_chance() -> None:
    for share, factor in ((0.0, 1.0), (1.0, 0.5)):
        policy = RetryPolicy(9, first_seconds=0.1, most_seconds=1.0, random=lambda share=share: share)
        pauses = [policy.pause_seconds(tries) for tries in range(1, 7)]
        assert pauses == pytest.approx([factor * each for each in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)])


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.UNAVAILABLE]
)
def test_nothing_else_is_tried_again(code: grpc.StatusCode) -> None:
    assert RetryPolicy(3).begin(None).pause_after(Failed(code)) is None


def test_the_number_of_retries_is_kept() -> None:
    attempts = RetryPolicy(2).begin(None)
    pauses = [attempts.pause_after(Failed(grpc.StatusCode.UNAVAILABLE)) for _ in range(3)]
    assert [pause is None for pause in pauses] == [False, False, True]
    attempts.succeeded()
    assert attempts.pause_after(Failed(grpc.StatusCode.UNAVAILABLE)) is not None


def test_no_pause_outlasts_the_timeout() -> None:
    clock = Clock()
    attempts = Attempts(RetryPolicy(9, first_seconds=1.0, clock=clock, random=lambda: 0.0), 2.5)
    assert attempts.seconds_left() == 2.5
    assert attempts.pause_after(Failed(grpc.StatusCode.UNAVAILABLE)) == 1.0
    clock.now += 1.0
    assert attempts.seconds_left() == 1.5
    assert attempts.pause_after(Failed(grpc.StatusCode.UNAVAILABLE)) is None, "2 s is more than is left"
    clock.now += 99
    assert attempts.seconds_left() == 0


def test_it_comes_back_with_all_it_had(connect: Connect) -> None:
    with fake_service(failing(2, pageann.ServiceUnavailable("starting"))) as (address, service):
        client = connect(address, api_key="a-key", retries=2)
        found = client.search(QUERY, 3, timeout=5, deadline=9.0)
    assert found.ids.tolist() == [[0, 0, 0]]
    assert len(service.requests) == 3
    assert {each["authorization"] for each in service.metadata} == {"Bearer a-key"}
    left = [seconds for seconds in service.seconds_left if seconds is not None]
    assert 5.1 > left[0] > left[2] + 0.1, "the pauses are taken from the timeout"
    assert all(0 < request.deadline_seconds <= 9.0 for request in service.requests)


def test_it_gives_up(connect: Connect) -> None:
    with fake_service(failing(99, pageann.ServiceUnavailable("starting"))) as (address, service):
        with pytest.raises(pageann.ServiceUnavailable, match="starting"):
            connect(address, retries=1).search(QUERY)
        assert len(service.requests) == 2
        with pytest.raises(pageann.ServiceUnavailable):
            connect(address, retries=0).search(QUERY)
        assert len(service.requests) == 3


def test_a_server_that_sheds_load_is_left_alone(connect: Connect) -> None:
    with (
        fake_service(failing(1, pageann.Overloaded("the queue is full", 1.5))) as (address, service),
        pytest.raises(pageann.Overloaded) as caught,
    ):
        connect(address).search(QUERY)
    assert caught.value.retry_after_seconds == 1.5
    assert len(service.requests) == 1


def test_nobody_is_there(connect: Connect) -> None:
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(pageann.ServiceUnavailable, match=address) as caught:
            connect(address, retries=1).search(QUERY)
    assert isinstance(caught.value, ConnectionError)


def test_a_server_that_comes_back_is_found(connect: Connect) -> None:
    with fake_service(failing(0, pageann.ServiceError(""))) as (address, _):
        client = connect(address, retries=20)
        client.search(QUERY)
    with fake_service(failing(0, pageann.ServiceError("")), address) as (_, service):
        client.search(QUERY)
    assert len(service.requests) == 1


def test_the_timeout_ends_a_call_that_hangs(connect: Connect) -> None:
    def hang(request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(30)
        return answer(1, 10)

    with fake_service(hang) as (address, service):
        for client, options in ((connect(address, timeout=0.2), {}), (connect(address), {"timeout": 0.2})):
            started = time.monotonic()
            with pytest.raises(pageann.DeadlineUnserved, match=address):
                client.search(QUERY, **options)
            assert time.monotonic() - started < 10
    assert len(service.requests) == 2, "a call that ran out of time is not tried again"


@pytest.mark.parametrize("timeout", [0, -1, "soon", float("nan"), True])
def test_a_timeout_is_a_number_of_seconds(connect: Connect, timeout: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="timeout="):
        connect("127.0.0.1:1", timeout=timeout)
    with pytest.raises(pageann.InvalidArgument, match="timeout="):
        connect("127.0.0.1:1").search(QUERY, timeout=timeout)
