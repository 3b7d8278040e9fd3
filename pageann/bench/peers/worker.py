"""The process in which one system builds, or answers: ``python -m pageann.bench.peers.worker TASK.json``.

A search says ``ready`` on stdout when the package is imported, a thousand rows have been searched with it
and the queries are in memory, and waits for a line on stdin: what it takes from there on is the index's, and
that is the moment to put a limit on it. The result goes to the file that the task names.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.loop import run_clients
from pageann.bench.machine import cpu_seconds
from pageann.bench.peers.contract import Case, Peer
from pageann.bench.peers.process import memory_bytes, peak_bytes, read_bytes
from pageann.bench.peers.registry import kind_of

__all__ = ["BASELINE", "INDEX", "READY"]

INDEX, BASELINE = "index", "baseline"
"""Folders below that of a build: the index, and one of its first rows."""
BASELINE_ROWS = 1000
READY = "ready"
_WARM_UP_QUERIES = 20

Task = dict[str, Any]


def main(path: str) -> None:
    """Carry out the task in the file at ``path``."""
    task: Task = json.loads(Path(path).read_text(encoding="utf-8"))
    action = {"describe": _describe, "build": _build, "search": _search}[task["action"]]
    result = action(task)
    Path(task["result"]).write_text(json.dumps(result), encoding="utf-8")


def _peer(task: Task, rows: int | None = None) -> Peer:
    case = Case(**task["case"]) if rows is None else Case(**{**task["case"], "rows": rows})
    return kind_of(task["peer"])(case)


def _describe(task: Task) -> dict[str, Any]:
    """Whether it can be imported, and what would be built."""
    peer = _peer(task)
    peer.load()
    return {
        "version": peer.version(),
        "parameters": peer.parameters(),
        "settings": [dict(setting) for setting in peer.settings()],
    }


def _build(task: Task) -> dict[str, Any]:
    folder = Path(task["folder"])
    base = np.load(task["base"], mmap_mode="r")
    for name in (INDEX, BASELINE):
        (folder / name).mkdir()
    small = _peer(task, min(BASELINE_ROWS, len(base)))
    small.load()
    small.build(base[:BASELINE_ROWS], folder / BASELINE)
    peer = _peer(task)
    peer.load()
    start, cpu_start = time.perf_counter(), cpu_seconds()
    peer.build(base, folder / INDEX)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_seconds() - cpu_start,
        "peak_rss_bytes": peak_bytes(),
        "disk_bytes": sum(each.stat().st_size for each in (folder / INDEX).rglob("*") if each.is_file()),
        "parameters": peer.parameters(),
        "version": peer.version(),
    }


def _search(task: Task) -> dict[str, Any]:
    queries = np.ascontiguousarray(np.load(task["queries"]))
    folder = Path(task["folder"])
    small = _peer(task, min(BASELINE_ROWS, task["case"]["rows"]))
    small.load()
    small.open(folder / BASELINE)
    small.search(queries[0], task["k"], task["setting"])
    before = memory_bytes()
    print(READY, flush=True)
    sys.stdin.readline()
    peer = _peer(task)
    peer.load()
    read_before, start = read_bytes(), time.perf_counter()
    peer.open(folder / INDEX)
    open_seconds = time.perf_counter() - start
    for query in queries[-_WARM_UP_QUERIES:]:
        peer.search(query, task["k"], task["setting"])
    started = {"open_seconds": open_seconds, "start_read_bytes": read_bytes() - read_before}
    result = {**started, **_timed(peer, queries, task)}
    after = memory_bytes()
    growth = {f"{name}_growth_bytes": after[name] - before[name] for name in ("rss", "private")}
    return {**result, **growth, "peak_rss_bytes": peak_bytes()}


def _timed(peer: Peer, queries: NDArray[Any], task: Task) -> dict[str, Any]:
    """Answer every query; ids go to a file, times come back."""
    k, setting = task["k"], task["setting"]
    found = np.full((len(queries), k), -1, np.int64)
    latency_us = np.zeros(len(queries), np.float64)

    def serve(number: int) -> None:
        start = time.perf_counter_ns()
        ids = peer.search(queries[number], k, setting)
        latency_us[number] = (time.perf_counter_ns() - start) / 1e3
        found[number, : len(ids)] = ids

    reads, cpu, start = read_bytes(), cpu_seconds(), time.perf_counter()
    run_clients(serve, len(queries), task["concurrency"])
    wall_seconds = time.perf_counter() - start
    cpu_spent, bytes_read = cpu_seconds() - cpu, read_bytes() - reads
    np.save(task["ids"], found)
    np.save(task["latencies"], latency_us)
    return {"wall_seconds": wall_seconds, "cpu_seconds": cpu_spent, "read_bytes": bytes_read}


if __name__ == "__main__":
    main(sys.argv[1])
