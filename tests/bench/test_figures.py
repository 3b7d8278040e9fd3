"""The figures have the schema that others read, and mean what ``docs/benchmarks.md`` says.

Guarded: a key that is renamed or lost; a recall, a rate or a ratio computed from the wrong numbers.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.bench import run as bench_run
from pageann.bench.options import BenchOptions
from pageann.bench.report import table, write_json
from tests.reference.exact_index import LEDGER, ExactIndex, ExactLibrary

RUN_KEYS = {
    "k", "recall_target", "effort", "memory_bytes", "concurrency", "queries", "recall", "recall_ci", "qps",
    "latency_us", "reads", "kib", "units", "hops", "codes_scored", "cpu_us", "scan_ratio", "resident_bytes",
    "rss_bytes", "threads", "start", "rate", "repeats", "spread", "open_seconds", "device_share", "clients",
}  # fmt: skip
PROBE = {
    "driver": "threads",
    "direct_io": True,
    "read_bytes": 4096,
    "latency_us": {"mean": 90.0, "p50": 80.0, "p99": 200.0},
    "cpu_us_per_read": 10.0,
    "depth": 64,
    "reads_per_second_at_depth": 100_000.0,
    "cpu_us_per_read_at_depth": 4.0,
    "reads_per_second_best": 120_000.0,
    "depths": [
        {
            "depth": 1,
            "reads_per_second": 12e3,
            "round_us": {"p50": 80.0, "p99": 200.0},
            "cpu_us_per_read": 10.0,
        },
        {
            "depth": 64,
            "reads_per_second": 12e4,
            "round_us": {"p50": 700.0, "p99": 900.0},
            "cpu_us_per_read": 4.0,
        },
    ],
}


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device and a yardstick that are known."""
    monkeypatch.setattr(bench_run, "_probe", lambda path: PROBE)
    monkeypatch.setattr(bench_run, "scan_cpu_us", lambda dim: 100.0 * dim)


@pytest.fixture
def figures(probed: None, library: ExactLibrary, options: BenchOptions) -> dict[str, Any]:
    grid = replace(options, efforts=(20, 40), concurrencies=(1, 2), memories=("10%", "30%"))
    return bench_run.measure(grid, lambda text: None)


def test_schema(figures: dict[str, Any]) -> None:
    assert figures["schema"] == "pageann.bench/1"
    assert {"machine", "device_probe", "dataset", "index", "runs"} <= set(figures)
    for run in figures["runs"]:
        assert set(run) >= RUN_KEYS
        assert set(run["latency_us"]) == {"mean", "p50", "p95", "p99", "p999"}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_every_combination_is_a_run(figures: dict[str, Any], library: ExactLibrary) -> None:
    grid = [(run["memory"], run["effort"], run["concurrency"]) for run in figures["runs"]]
    assert grid == [(m, e, c) for m in ("10%", "30%") for e in (20, 40) for c in (1, 2)]
    assert [call[2]["memory"] for call in library.calls] == ["10%", "10%", "30%"]


def test_figures_of_a_run(figures: dict[str, Any]) -> None:
    run = figures["runs"][0]
    assert (run["k"], run["queries"], run["recall"], run["recall_ci"]) == (10, 40, 1.0, [1.0, 1.0])
    assert (run["reads"], run["kib"], run["units"], run["hops"], run["codes_scored"]) == (3, 12, 3, 1, 200)
    assert (run["memory_bytes"], run["resident_bytes"]) == (LEDGER.budget_bytes, LEDGER.total)
    assert run["rss_bytes"] > 10 << 20
    assert run["recall_target"] is None
    assert run["device_share"] == pytest.approx(run["qps"] * 3 / 120_000)
    assert run["scan_ratio"] == pytest.approx(run["cpu_us"] / 800)
    assert 0 < run["latency_us"]["p50"] <= run["latency_us"]["p999"]
    assert 0 < run["qps"] * run["latency_us"]["mean"] / 1e6 <= 1.001  # share of the time spent in calls


def test_recall_counts_what_was_missed(
    probed: None, library: ExactLibrary, options: BenchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ExactIndex.search

    def search_that_misses_two(self: ExactIndex, queries: Any, k: int = 10, **given: Any) -> Any:
        result = search(self, queries, k + 2, **given)
        return replace(result, ids=result.ids[:, 2:], distances=result.distances[:, 2:])

    monkeypatch.setattr(ExactIndex, "search", search_that_misses_two)
    (run,) = bench_run.measure(options, lambda text: None)["runs"]
    assert run["recall"] == pytest.approx(0.8)
    assert run["recall_target"] == 0.95


def test_fewer_rows_than_k(probed: None, library: ExactLibrary, options: BenchOptions) -> None:
    library.index = ExactIndex(library.index.vectors[:5])
    queries = np.load(options.queries)
    np.save(options.truth, library.index.search(queries, 5).ids)
    (run,) = bench_run.measure(options, lambda text: None)["runs"]
    assert run["recall"] == 1.0


def test_repeats_give_medians_and_their_range(
    probed: None, library: ExactLibrary, options: BenchOptions
) -> None:
    said: list[str] = []
    (run,) = bench_run.measure(replace(options, repeats=3), said.append)["runs"]
    low, high = run["spread"]["qps"]
    assert (run["repeats"], run["recall"], run["spread"]["recall"]) == (3, 1.0, [1.0, 1.0])
    assert low <= run["qps"] <= high
    assert said[0].startswith("repeat 1 of 3: ")
    assert len(said) == 3


def test_threads_and_starts_are_runs_of_their_own(
    probed: None, library: ExactLibrary, options: BenchOptions
) -> None:
    grid = replace(options, threads=(1, 2), starts=("warm", "cold"), efforts=(20, 40))
    runs = bench_run.measure(grid, lambda text: None)["runs"]
    found = [(run["threads"], run["start"], run["effort"]) for run in runs]
    assert found == [(t, s, e) for t in (1, 2) for s in ("warm", "cold") for e in (20, 40)]
    opened = [call[2]["threads"] for call in library.calls]
    assert opened == [1, 1, 1, 1, 2, 2, 2]  # the facts; then once for warm runs and anew for each cold one


def test_each_run_is_announced(probed: None, library: ExactLibrary, options: BenchOptions) -> None:
    said: list[str] = []
    bench_run.measure(replace(options, efforts=(20, 40)), said.append)
    assert said == ["memory as built, effort 20, 1 clients", "memory as built, effort 40, 1 clients"]


def test_table_has_a_line_a_run(figures: dict[str, Any]) -> None:
    lines = table(figures).splitlines()
    head = next(number for number, line in enumerate(lines) if "scan ratio  " in line)
    assert len(lines) - head - 1 == len(figures["runs"])
    assert len({len(line) for line in lines[head:]}) == 1
    assert "effort 20" in lines[head + 1]
    assert "do not quote" not in table(figures)


def test_table_warns_of_buffered_reads_and_of_warnings(figures: dict[str, Any]) -> None:
    figures["device_probe"] = {**PROBE, "direct_io": False}
    figures["runs"][0]["warnings"] = ["recall 0.99 was never reached"]
    assert "do not quote" in table(figures)
    assert table(figures).endswith("warning: recall 0.99 was never reached")


def test_file_is_what_was_measured(figures: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(figures, str(path))
    assert json.loads(path.read_text()) == figures
