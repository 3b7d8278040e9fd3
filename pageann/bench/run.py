"""The benchmark from options to figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.bench.cold import forget_files
from pageann.bench.device import probe_device
from pageann.bench.figures import loop_figures, merged
from pageann.bench.inputs import BenchInputs, read_inputs
from pageann.bench.loop import run_loop
from pageann.bench.machine import describe_machine, describe_storage, rss_bytes
from pageann.bench.options import COLD, BenchOptions, Load, Opening, Target
from pageann.bench.recall import true_distances
from pageann.bench.scan import SCAN_ROWS, scan_cpu_us
from pageann.storage.directory import IndexDirectory
from pageann.storage.pagefile import read_page_file_header

if TYPE_CHECKING:
    from pageann.api import Index

__all__ = ["SCHEMA", "measure"]

SCHEMA = "pageann.bench/1"

Say = Callable[[str], None]


def measure(options: BenchOptions, say: Say) -> dict[str, Any]:
    """All runs that ``options`` ask for, as the JSON object of the schema ``pageann.bench/1``.

    ``say`` is told each run as it begins.
    """
    with _opened(options, options.openings[0]) as index:
        inputs = read_inputs(options, index.rows)
        truth = true_distances(index, inputs, options.truth)
        facts, dim = index.describe(), index.dim
        index.search(inputs.queries[:1], options.k)  # a cold start is one of the index, not of the compiler
    machine = describe_machine()
    scan_before = scan_cpu_us(dim)
    runs = _all_runs(options, inputs, truth, say)
    scan_us = math.sqrt(scan_before * scan_cpu_us(dim))
    probe = _probe(options.index)
    for run in runs:
        run["scan_ratio"] = run["cpu_us"] / scan_us
        run["device_share"] = run["qps"] * run["reads"] / probe["reads_per_second_best"]
    return {
        "schema": SCHEMA,
        "machine": {**machine, "scan_rows": SCAN_ROWS, "scan_cpu_us": scan_us},
        "storage": describe_storage(Path(options.index)),
        "device_probe": probe,
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


def _opened(options: BenchOptions, opening: Opening) -> Index:
    return pageann.open(options.index, memory=opening.memory, io=options.io, threads=opening.threads)


def _all_runs(
    options: BenchOptions, inputs: BenchInputs, truth: NDArray[np.float64], say: Say
) -> list[dict[str, Any]]:
    """Every combination once, and then all of them again, so that a busy minute hits each alike."""
    rounds = []
    for number in range(options.repeats):
        prefix = f"repeat {number + 1} of {options.repeats}: " if options.repeats > 1 else ""
        rounds.append(list(_round(options, inputs, truth, prefix, say)))
    return [merged(repeats) for repeats in zip(*rounds, strict=True)]


def _round(
    options: BenchOptions, inputs: BenchInputs, truth: NDArray[np.float64], prefix: str, say: Say
) -> Iterator[dict[str, Any]]:
    for opening, runs in options.sessions():
        if opening.start == COLD:
            forget_files(Path(options.index))
        start = time.perf_counter()
        with _opened(options, opening) as index:
            open_seconds = time.perf_counter() - start
            for target, load in runs:
                say(f"{prefix}{opening.label}, {target.label}, {load.label}")
                loop = run_loop(
                    index,
                    inputs.queries,
                    options.k,
                    target,
                    load,
                    batch=options.batch,
                    warm_up=opening.start != COLD,
                    seed=options.seed,
                )
                figures = loop_figures(loop, inputs, truth, options.seed)
                yield {
                    **_settings(options, opening, target, load),
                    "effort": target.effort or loop.stats.means()["effort"],
                    "open_seconds": open_seconds,
                    **figures,
                    **_memory(index),
                }


def _settings(options: BenchOptions, opening: Opening, target: Target, load: Load) -> dict[str, Any]:
    return {
        "k": options.k,
        "memory": opening.memory,
        "threads": opening.threads,
        "start": opening.start,
        "concurrency": load.concurrency,
        "clients": load.clients,
        "rate": load.rate,
        "batch": options.batch,
        "recall_target": target.recall,
    }


def _memory(index: Index) -> dict[str, int]:
    ledger = index.ledger
    return {"memory_bytes": ledger.budget_bytes, "resident_bytes": ledger.total, "rss_bytes": rss_bytes()}


def _probe(path: str) -> dict[str, Any]:
    """The device probe, on the page file of the first segment."""
    page_file = Path(path) / IndexDirectory(path).current().segments[0].name / "pages.bin"
    layout, _ = read_page_file_header(page_file)
    return probe_device(page_file, layout.page_bytes)
