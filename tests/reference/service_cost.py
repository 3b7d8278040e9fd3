"""What the service costs above the library: ``python -m tests.reference.service_cost INDEX QUERIES``.

The service runs in a child process. In one run, by turns, the same queries are answered by the library
(here), by the service (asked by ``AsyncClient`` from here), and a bare grpc.aio server in the child echoes
messages of the same sizes. CPU is user and system time of both processes; figures are medians of rounds.

    overhead = CPU(service) - CPU(library) - CPU(echo), a call

``bare`` is the least that any service over grpc.aio can be: a handler that unpacks, searches and packs,
without keys, limits or metrics, called through a bare stub. What it costs above library and echo is the
price of searching between the events of gRPC; the rest is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.client import AsyncClient, ClientTls
from pageann.datasets.source import open_vectors
from pageann.server import IndexConfig, ServerConfig, start
from pageann.server.keys import hashed_line
from pageann.server.v1 import pageann_pb2 as pb
from pageann.wire.results import search_response
from pageann.wire.vectors import pack_vectors, unpack_vectors
from tests.server.certificates import Authority

KEY = "k" * 32
ECHO, BARE = "/measure/Echo", "/measure/Bare"
BATCH_ROWS = 100


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, by its CPU clock."""
    return time.clock_gettime((~pid << 3) | 2)


async def serve(index: str, folder: str, everything: bool) -> None:
    """The child: the service, and the echo beside it; says both addresses, and ends with its stdin."""
    settings: dict[str, Any] = {"keys": (hashed_line("bench", "read", KEY),), "metrics_listen": "127.0.0.1:0"}
    if everything:
        settings["access_log"] = str(Path(folder) / "access.log")
        settings["tls_certificate_file"] = str(Path(folder) / "server.pem")
        settings["tls_key_file"] = str(Path(folder) / "server.key")
    server = await start(ServerConfig((IndexConfig("index", Path(index)),), listen="127.0.0.1:0", **settings))
    echo = grpc.aio.server()
    answer = b""

    async def reply(request: bytes, _: Any) -> bytes:
        nonlocal answer
        if len(request) >= 8 and request[:4] == b"size":
            answer = bytes(int.from_bytes(request[4:8], "little"))
        return answer

    bare_index = next(iter(server._registry)).take().index

    async def search(request: pb.SearchRequest, _: Any) -> pb.SearchResponse:
        query = unpack_vectors(request.queries, most_rows=1, most_dim=1 << 16)
        return search_response(await bare_index.asearch(query, request.k, recall=request.recall, stats=False))

    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(reply),
        "Bare": grpc.unary_unary_rpc_method_handler(
            search, pb.SearchRequest.FromString, pb.SearchResponse.SerializeToString
        ),
    }
    echo.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("measure", handlers),))
    port = echo.add_insecure_port("127.0.0.1:0")
    await echo.start()
    print(json.dumps({"service": server.address, "echo": f"127.0.0.1:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await echo.stop(None)
    next(iter(server._registry))._current.let_go()  # type: ignore[union-attr]
    await server.stop(0.0)


class Measurement:
    """Rounds by turns, and the medians over them."""

    def __init__(self, child: int, queries: NDArray[Any], calls: int) -> None:
        self._child = child
        self._queries = queries
        self._calls = calls
        self.cpu_us: dict[str, list[float]] = {}
        self.p50_us: dict[str, list[float]] = {}
        self.rates: dict[str, list[float]] = {}

    async def round_of_singles(self, name: str, call: Callable[[NDArray[Any]], Awaitable[Any]]) -> None:
        """Call for one query after another."""
        times = np.empty(self._calls)
        began = cpu_seconds(self._child) + time.process_time()
        for number in range(self._calls):
            query = self._queries[number % len(self._queries)]
            started = time.perf_counter()
            await call(query)
            times[number] = time.perf_counter() - started
        spent = cpu_seconds(self._child) + time.process_time() - began
        self.cpu_us.setdefault(name, []).append(spent / self._calls * 1e6)
        self.p50_us.setdefault(name, []).append(float(np.median(times)) * 1e6)

    async def round_of_batches(self, name: str, call: Callable[[NDArray[Any]], Awaitable[Any]]) -> None:
        """Call for batches, one after another; queries a second."""
        batches = self._calls // BATCH_ROWS
        started = time.perf_counter()
        for number in range(batches):
            first = number * BATCH_ROWS % (len(self._queries) - BATCH_ROWS + 1)
            await call(self._queries[first : first + BATCH_ROWS])
        seconds = time.perf_counter() - started
        self.rates.setdefault(name, []).append(batches * BATCH_ROWS / seconds)

    def report(self) -> dict[str, float]:
        """Medians: CPU of a call, its p50, queries a second of batches."""
        cpu = {name: float(np.median(values)) for name, values in self.cpu_us.items()}
        p50 = {name: float(np.median(values)) for name, values in self.p50_us.items()}
        rates = {name: float(np.median(values)) for name, values in self.rates.items()}
        return {
            **{f"cpu_us_{name}": round(value, 1) for name, value in cpu.items()},
            "cpu_us_overhead": round(cpu["service"] - cpu["library"] - cpu["echo"], 1),
            "cpu_us_above_bare": round(cpu["service"] - cpu["bare"], 1),
            **{f"p50_us_{name}": round(value, 1) for name, value in p50.items()},
            "p50_us_above_library": round(p50["service"] - p50["library"], 1),
            **{f"batch_qps_{name}": round(value) for name, value in rates.items()},
            "batch_share": round(rates["service"] / rates["library"], 3),
        }


async def measure(arguments: argparse.Namespace, child: subprocess.Popen[str], tls: ClientTls | None) -> None:
    """All rounds, and the report as one line of JSON."""
    assert child.stdout is not None
    addresses = json.loads(child.stdout.readline())
    source = open_vectors(arguments.queries)
    queries = np.ascontiguousarray(next(source.blocks(min(2000, source.rows)))[1])
    with pageann.open(arguments.index) as index:
        answer = search_response(index.search(queries[0], 10, recall=0.95, stats=False)).ByteSize()
        request = pb.SearchRequest(queries=pack_vectors(queries[:1]), k=10, recall=0.95).ByteSize()
        message = b"size" + answer.to_bytes(4, "little") + bytes(max(0, request - 8))
        measurement = Measurement(child.pid, queries, arguments.calls)
        async with (
            AsyncClient(addresses["service"], "index", api_key=KEY, tls=tls) as client,
            grpc.aio.insecure_channel(addresses["echo"]) as channel,
        ):
            echo = channel.unary_unary(ECHO)
            searching = channel.unary_unary(
                BARE, pb.SearchRequest.SerializeToString, pb.SearchResponse.FromString
            )

            async def bare(query: NDArray[Any]) -> Any:
                request = pb.SearchRequest(queries=pack_vectors(query[None]), k=10, recall=0.95)
                return await searching(request)

            async def library(query: NDArray[Any]) -> Any:
                return await index.asearch(query, 10, recall=0.95, stats=False)

            async def service(query: NDArray[Any]) -> Any:
                return await client.search(query, 10, recall=0.95, stats=False)

            for _ in range(arguments.rounds + 1):
                await measurement.round_of_singles("library", library)
                await measurement.round_of_singles("echo", lambda _: echo(message))
                await measurement.round_of_singles("bare", bare)
                await measurement.round_of_singles("service", service)
                await measurement.round_of_batches("library", library)
                await measurement.round_of_batches("service", service)
            for rounds in (measurement.cpu_us, measurement.p50_us, measurement.rates):
                for values in rounds.values():
                    del values[0]  # the first round warms up
        print(
            json.dumps({"request_bytes": request, "answer_bytes": answer, **measurement.report()}, indent=1)
        )


def main() -> None:
    """Start the child, measure, end it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index")
    parser.add_argument("queries")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--everything", action="store_true", help="TLS and the access log on as well")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.index, arguments.serve, arguments.everything))
        return
    with tempfile.TemporaryDirectory() as folder:
        authority, tls = Authority(), None
        if arguments.everything:
            authority.pair("server").write(Path(folder), "server")
            (Path(folder) / "authority.pem").write_bytes(authority.pem)
            tls = ClientTls(Path(folder) / "authority.pem")
        command = [sys.executable, "-m", __spec__.name, arguments.index, arguments.queries, "--serve", folder]
        command += ["--everything"] if arguments.everything else []
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            try:
                asyncio.run(measure(arguments, child, tls))
            finally:
                assert child.stdin is not None
                child.stdin.close()


if __name__ == "__main__":
    main()
