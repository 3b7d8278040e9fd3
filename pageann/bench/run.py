"""The benchmark from options to figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.bench.device import probe_device
from pageann.bench.inputs import BenchInputs, read_inputs
from pageann.bench.loop import LoopResult, closed_loop
from pageann.bench.machine import describe_machine, rss_bytes
from pageann.bench.options import BenchOptions, Target
from pageann.bench.recall import bootstrap_interval, true_distances
from pageann.bench.scan import SCAN_ROWS, scan_cpu_us
from pageann.datasets.truth import recall_at_k
from pageann.storage.directory import IndexDirectory
from pageann.storage.pagefile import read_page_file_header

if TYPE_CHECKING:
    from pageann.api import Index

__all__ = ["SCHEMA", "measure"]

SCHEMA = "pageann.bench/1"
_LATENCY_POINTS = (("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9))

Say = Callable[[str], None]


def measure(options: BenchOptions, say: Say) -> dict[str, Any]:
    """All runs that ``options`` ask for, as the JSON object of the schema ``pageann.bench/1``.

    ``say`` is told each run as it begins.
    """
    with _opened(options, options.budgets[0]) as index:
        inputs = read_inputs(options, index.rows)
        truth = true_distances(index, inputs, options.truth)
        facts, dim = index.describe(), index.dim
    scan_before = scan_cpu_us(dim)
    runs = list(_runs(options, inputs, truth, say))
    scan_us = math.sqrt(scan_before * scan_cpu_us(dim))
    for run in runs:
        run["scan_ratio"] = run["cpu_us"] / scan_us
    return {
        "schema": SCHEMA,
        "machine": {**describe_machine(), "scan_rows": SCAN_ROWS, "scan_cpu_us": scan_us},
        "device_probe": _probe(options.index),
        "dataset": {
            "queries": options.queries,
            "truth": options.truth,
            "groups": options.groups,
            "query_count": len(inputs.queries),
            "query_dtype": str(inputs.queries.dtype),
        },
        "index": facts,
        "runs": runs,
    }


def _opened(options: BenchOptions, memory: str | None) -> Index:
    return pageann.open(options.index, memory=memory, io=options.io, threads=options.threads)


def _runs(
    options: BenchOptions, inputs: BenchInputs, truth: NDArray[np.float64], say: Say
) -> Iterator[dict[str, Any]]:
    for memory in options.budgets:
        with _opened(options, memory) as index:
            for target in options.targets:
                for concurrency in options.concurrencies:
                    say(f"memory {memory or 'as built'}, {target.label}, {concurrency} clients")
                    loop = closed_loop(
                        index,
                        inputs.queries,
                        options.k,
                        target,
                        concurrency=concurrency,
                        batch=options.batch,
                    )
                    settings = {"memory": memory, "concurrency": concurrency, "batch": options.batch}
                    yield {**settings, **_figures(options, target, loop, inputs, truth), **_memory(index)}


def _figures(
    options: BenchOptions, target: Target, loop: LoopResult, inputs: BenchInputs, truth: NDArray[np.float64]
) -> dict[str, Any]:
    count = len(inputs.queries)
    recalls = recall_at_k(loop.distances, truth, truth.shape[1])
    means = loop.stats.means()
    return {
        "k": options.k,
        "recall_target": target.recall,
        "effort": target.effort if target.effort is not None else means["effort"],
        "queries": count,
        "recall": float(recalls.mean()),
        "recall_ci": list(bootstrap_interval(recalls, inputs.groups, options.seed)),
        "qps": count / loop.wall_seconds,
        "latency_us": _latency(loop.latency_us),
        "reads": means["reads"],
        "kib": means["kib"],
        "units": means["units"],
        "hops": means["hops"],
        "codes_scored": means["codes_scored"],
        "pinned_hits": means["pinned_hits"],
        "cpu_us": loop.cpu_seconds / count * 1e6,
        "stopped": loop.stats.stops(),
        "warnings": list(loop.stats.warnings),
    }


def _latency(latency_us: NDArray[np.float64]) -> dict[str, float]:
    points = {name: float(np.percentile(latency_us, share)) for name, share in _LATENCY_POINTS}
    return {"mean": float(latency_us.mean()), **points}


def _memory(index: Index) -> dict[str, int]:
    ledger = index.ledger
    return {"memory_bytes": ledger.budget_bytes, "resident_bytes": ledger.total, "rss_bytes": rss_bytes()}


def _probe(path: str) -> dict[str, Any]:
    """The device probe, on the page file of the first segment."""
    page_file = Path(path) / IndexDirectory(path).current().segments[0].name / "pages.bin"
    layout, _ = read_page_file_header(page_file)
    return probe_device(page_file, layout.page_bytes)
