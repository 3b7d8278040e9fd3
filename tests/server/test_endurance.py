"""Nothing grows: not with calls, not with connections that come and go, not with readers who take nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import grpc
import numpy as np
import pytest

from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.vectors import pack_vectors
from tests.library.samples import Sample
from tests.server.program import Served
from tests.server.serving import Caller, calling, code_of, eventually

Code = grpc.StatusCode
MIB = 1 << 20
DEADLINE_SECONDS = 3.0
LATE_SECONDS = 1.0
"""For a hundred threads of this process to be scheduled."""
QUIET = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--threads", "1")

LIMITS = (
    "--unsent-bytes", "16MiB", "--memory", "8MiB", "--send-seconds", "2",
)  # fmt: skip


@pytest.fixture
def program(sample: Sample) -> Iterator[Served]:
    """A server in a process of its own, so that it can be measured."""
    with Served(sample.path, *QUIET, *LIMITS) as program:
        program.address()
        yield program


def open_files(program: Served) -> int:
    """Descriptors that it holds."""
    return len(list(Path(f"/proc/{program.process.pid}/fd").iterdir()))


def memory_bytes(program: Served) -> int:
    """Anonymous memory that it holds."""
    text = Path(f"/proc/{program.process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Anonymous:"))


def cpu_seconds(program: Served) -> float:
    """User and system time that it has taken."""
    return time.clock_gettime((~program.process.pid << 3) | 2)


def test_an_idle_server_does_nothing(program: Served, sample: Sample) -> None:
    with calling(program.address()) as caller:
        for query in sample.queries:
            caller.search(query)
    began = cpu_seconds(program)
    with pytest.raises(subprocess.TimeoutExpired):
        program.process.wait(2.0)
    assert cpu_seconds(program) - began < 0.1


@pytest.mark.slow
def test_fifty_thousand_calls(program: Served, sample: Sample) -> None:
    address = program.address()

    def client(number: int) -> None:
        for _ in range(10):  # over ten connections, one after another
            with calling(address, alone=True) as caller:
                for call in range(250):
                    caller.search(sample.queries[(number + call) % len(sample.queries)], k=1 + call % 7)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(client, range(4)))  # 10,000 calls to warm up
        files, memory = open_files(program), memory_bytes(program)
        for _ in range(4):
            list(threads.map(client, range(4)))
    eventually(lambda: open_files(program) <= files + 2, "descriptors are given back")
    grown = memory_bytes(program) - memory
    print(f"50,000 calls: descriptors {files} -> {open_files(program)}, memory {grown / MIB:+.1f} MiB")
    assert grown < 4 * MIB


@pytest.mark.slow
def test_ten_times_too_many_calls(sample: Sample) -> None:
    """Of calls that come ten times as fast as they are answered, none waits past its deadline."""
    limits = ("--memory", "8MiB", "--concurrency", "2", "--queue", "8", "--blocking-threads", "1")
    queries = np.repeat(sample.queries, 330, axis=0)  # some 950 KB a request
    with Served(sample.path, *QUIET, *limits) as program, ThreadPoolExecutor(100) as threads:
        address = program.address()
        outcomes: list[tuple[grpc.StatusCode | None, float]] = []

        def client(calls: int) -> None:
            with calling(address, alone=True) as caller:
                for _ in range(calls):
                    started = time.monotonic()
                    code = code_of(lambda: caller.search(queries, k=10, effort=40, timeout=DEADLINE_SECONDS))
                    outcomes.append((code, time.monotonic() - started))

        def crowd() -> int:
            """The most memory that it holds while a hundred clients make ten calls each."""
            clients, most = [threads.submit(client, 10) for _ in range(100)], 0
            while not all(each.done() for each in clients):
                most = max(most, memory_bytes(program))
                wait(clients, timeout=0.05)
            for each in clients:
                each.result()
            return most

        first = crowd()
        most = max(crowd() for _ in range(2))
    codes = Counter(code for code, _ in outcomes)
    slowest = max(seconds for _, seconds in outcomes)
    print(f"{codes}, slowest {slowest:.2f} s, memory {first / MIB:.0f} -> {most / MIB:.0f} MiB")
    assert set(codes) <= {Code.OK, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}
    assert codes[Code.OK] >= 10
    assert codes[Code.RESOURCE_EXHAUSTED] > codes[Code.OK]
    assert slowest < DEADLINE_SECONDS + LATE_SECONDS
    # It depends on how many call at once and not on how many calls there were.
    assert most < 1.1 * first


@pytest.mark.slow
def test_ten_thousand_connections_that_are_dropped(program: Served, sample: Sample) -> None:
    host, port = program.address().split(":")
    with calling(program.address(), alone=True) as caller:
        caller.search(sample.queries[0])
        drop_connections(host, int(port), 1000, caller, sample)  # to warm up
        files, memory = open_files(program), memory_bytes(program)
        for _ in range(9):
            drop_connections(host, int(port), 1000, caller, sample)
        eventually(lambda: open_files(program) <= files + 10, "descriptors are given back")
        grown = memory_bytes(program) - memory
        print(f"10,000 connections: descriptors {files} -> {open_files(program)}, {grown / MIB:+.1f} MiB")
        assert grown < 8 * MIB


def drop_connections(host: str, port: int, count: int, caller: Caller, sample: Sample) -> None:
    """Open so many, a hundred at a time, and drop them: half of them hard, and half after some bytes."""
    for first in range(0, count, 100):
        opened = [socket.create_connection((host, port), 10.0) for _ in range(100)]
        for number, one in enumerate(opened):
            if number % 2:
                one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if first % 200 == 0:
            caller.search(sample.queries[0], timeout=5.0)
        for one in opened:
            one.close()


@pytest.mark.slow
def test_a_thousand_slow_readers(program: Served, sample: Sample) -> None:
    """They hold up nobody else, memory stays bounded, and those that wait too long are dropped."""
    address = program.address()
    # Large answers that cost little.
    request = pb.SearchRequest(queries=pack_vectors(sample.queries), k=900, exact=True)
    before = memory_bytes(program)
    with calling(address, alone=True) as caller, contextlib.ExitStack() as readers:
        for number in range(1000):
            readers.enter_context(never_reading(address, request))
            if number % 25 == 0:
                caller.search(sample.queries[0], timeout=5.0)
        grown = memory_bytes(program) - before
        print(f"1,000 slow readers: memory {grown / MIB:+.1f} MiB")
        assert grown < 200 * MIB

        def dropped() -> bool:
            caller.search(sample.queries[0], timeout=5.0)
            return metric(program, "pageann_slow_readers_total") >= 50

        eventually(dropped, "slow readers are dropped")
        eventually(lambda: metric(program, "pageann_unsent_bytes") == 0, "nothing waits any more")
        caller.search(sample.queries[0], timeout=5.0)


def never_reading(address: str, request: pb.SearchRequest) -> socket.socket:
    """A connection with one call on it whose answer the server is not allowed to send: a window of 0."""
    host, port = address.split(":")
    names = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/pageann.v1.SearchService/Search",
        ":authority": address,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    headers = b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in names.items()
    )
    message = request.SerializeToString()
    connection = socket.create_connection((host, int(port)), 10.0)
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, struct.pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE
        + frame(1, 4, 1, headers)
        + frame(0, 1, 1, struct.pack(">BI", 0, len(message)) + message)
    )
    return connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def metric(program: Served, name: str) -> float:
    """A figure of the server."""
    address = program.says(r"metrics on (\S+)")[1]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10.0) as answer:
        text = answer.read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
