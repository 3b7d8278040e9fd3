"""Figures as a benchmark writes them, of made-up values that are easy to recognise."""

from __future__ import annotations

from typing import Any

__all__ = ["comparison_of", "figures_of", "peer_run", "run_of"]

PROBE = {
    "driver": "threads",
    "direct_io": True,
    "read_bytes": 4096,
    "latency_us": {"mean": 90.0, "p50": 80.0, "p99": 200.0},
    "depth": 64,
    "reads_per_second_at_depth": 100_000.0,
    "depths": [
        {"depth": 1, "reads_per_second": 12e3, "round_us": {"p50": 80.0}},
        {"depth": 64, "reads_per_second": 1e5, "round_us": {"p50": 700.0}},
    ],
}


def run_of(memory: str, effort: int, recall: float, qps: float) -> dict[str, Any]:
    """One run."""
    return {
        "k": 10, "memory": memory, "memory_bytes": 1 << 20, "effort": effort, "recall_target": None,
        "concurrency": 1, "clients": "threads", "batch": 1, "threads": None, "start": "warm", "rate": None,
        "queries": 100,
        "recall": recall, "recall_ci": [recall - 0.01, recall + 0.01], "qps": qps, "device_share": 0.25,
        "latency_us": {"mean": 900.0, "p50": 800.0, "p95": 1000.0, "p99": 1234.0, "p999": 2000.0},
        "reads": effort / 2, "kib": effort * 2.0, "units": effort / 2, "hops": 1.0, "codes_scored": 100.0,
        "cpu_us": 1e6 / qps, "scan_ratio": 2.0, "resident_bytes": 1 << 20, "rss_bytes": 300 << 20,
        "warnings": [], "repeats": 2, "spread": {"qps": [qps * 0.9, qps * 1.1]},
    }  # fmt: skip


def figures_of(*runs: dict[str, Any]) -> dict[str, Any]:
    """A whole file, with a name that must be escaped."""
    return {
        "schema": "pageann.bench/1",
        "machine": {
            "cpu": "Processor <&>", "cores": 2, "ram_bytes": 8 << 30, "system": "Linux", "python": "3.11",
            "packages": {"numpy": "2"}, "scan_cpu_us": 70.0, "scan_rows": 10_000, "load_average": 0.5,
        },
        "device_probe": PROBE,
        "dataset": {"query_count": 100},
        "index": {
            "rows": 1000, "dim": 8, "dtype": "uint8", "metric": "l2", "raw_bytes": 8000, "index_bytes": 9000,
            "index_over_raw": 1.125, "files": {"pages.bin": 8192},
        },
        "runs": list(runs),
    }  # fmt: skip


def peer_run(recall: float, qps: float, **others: float) -> dict[str, Any]:
    """One run of a compared system."""
    return {
        "setting": {"ef": round(1 / (1.001 - recall))}, "recall": recall, "recall_ci": [recall, recall],
        "qps": qps,
        "kib": 40.0, "cpu_us": 1e6 / qps, "open_seconds": 0.5, "rss_growth_bytes": 30 << 20,
        "latency_us": {"mean": 900.0, "p50": 800.0, "p95": 1000.0, "p99": 1234.0, "p999": 2000.0},
        "spread": {"qps": [qps, qps]}, **others,
    }  # fmt: skip


def comparison_of(**peers: list[dict[str, Any]]) -> dict[str, Any]:
    """A comparison of systems by name; one without runs could not run."""
    return {
        "conditions": {"queries": 100, "k": 10, "concurrency": 1, "repeats": 2, "cap": "none asked for"},
        "peers": [
            {
                "name": name,
                "version": "1.0",
                "description": f"what {name} is",
                "reason": None if runs else "not installed",
                "build": {
                    "seconds": 2.0,
                    "peak_rss_bytes": 1 << 28,
                    "disk_bytes": 1 << 20,
                    "parameters": {"M": 16},
                }
                if runs
                else None,
                "runs": runs,
                "failures": [],
            }
            for name, runs in peers.items()
        ],
    }
