"""Figures for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pageann.bench.compared import comparison_table
from pageann.bench.options import THREADS
from pageann.types import format_bytes

__all__ = ["table", "write_json"]

_COLUMNS = (
    "memory",
    "target",
    "clients",
    "recall",
    "95 % interval",
    "reads",
    "KiB",
    "units",
    "hops",
    "codes",
    "CPU us",
    "scan ratio",
    "qps",
    "of device",
    "mean us",
    "p50",
    "p99",
    "resident",
    "RSS",
)


def table(figures: Mapping[str, Any]) -> str:
    """The runs as a table, a line each, under one about the device and the yardstick."""
    rows = [_COLUMNS, *(_row(run) for run in figures["runs"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    compared = [comparison_table(figures["comparison"])] if "comparison" in figures else []
    return "\n".join([*_preface(figures), *lines, *_warnings(figures), *compared])


def write_json(figures: Mapping[str, Any], path: str) -> None:
    """Write the figures to ``path`` as JSON."""
    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _preface(figures: Mapping[str, Any]) -> Iterator[str]:
    machine, probe = figures["machine"], figures["device_probe"]
    ram, read_size = format_bytes(machine["ram_bytes"]), format_bytes(probe["read_bytes"])
    yield f"{machine['cpu']}, {machine['cores']} cores, {ram}; {machine['system']}"
    yield (
        f"device: a read of {read_size} takes {probe['latency_us']['p50']:.0f} us alone;"
        f" {probe['reads_per_second_at_depth']:,.0f} reads/s at depth {probe['depth']} ({probe['driver']})"
    )
    yield (
        f"scan ratio 1: {machine['scan_cpu_us']:.0f} us of CPU,"
        f" one exact scan of {machine['scan_rows']:,} rows on one thread"
    )
    yield "device, reads of a round in p50 us: " + ", ".join(
        f"{each['depth']} in {each['round_us']['p50']:.0f}" for each in probe["depths"]
    )
    if not probe["direct_io"]:
        yield "direct_io: false. Reads come from the page cache, not from the device: do not quote this"
    yield ""


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = run["recall_ci"]
    target = f"recall {run['recall_target']:g}" if run["recall_target"] else f"effort {run['effort']:g}"
    latency = run["latency_us"]
    return (
        (run["memory"] or format_bytes(run["memory_bytes"])) + (" cold" if run["start"] == "cold" else ""),
        target,
        _clients(run),
        f"{run['recall']:.4f}",
        f"{low:.4f}-{high:.4f}",
        f"{run['reads']:.2f}",
        f"{run['kib']:.1f}",
        f"{run['units']:.2f}",
        f"{run['hops']:.2f}",
        f"{run['codes_scored']:,.0f}",
        f"{run['cpu_us']:,.0f}",
        f"{run['scan_ratio']:.2f}",
        _with_spread(run),
        f"{run['device_share']:.0%}",
        f"{latency['mean']:,.0f}",
        f"{latency['p50']:,.0f}",
        f"{latency['p99']:,.0f}",
        format_bytes(run["resident_bytes"]),
        format_bytes(run["rss_bytes"]),
    )


def _clients(run: Mapping[str, Any]) -> str:
    text = f"{run['concurrency']} x {run['batch']}"
    if run["clients"] != THREADS:
        text += f" {run['clients']}"
    if run["threads"] is not None:
        text += f", {run['threads']} threads"
    return text if run["rate"] is None else f"{text}, {run['rate']:g}/s"


def _with_spread(run: Mapping[str, Any]) -> str:
    if run["repeats"] == 1:
        return f"{run['qps']:,.0f}"
    low, high = run["spread"]["qps"]
    return f"{run['qps']:,.0f} ({low:,.0f}-{high:,.0f})"


def _warnings(figures: Mapping[str, Any]) -> Iterator[str]:
    for text in dict.fromkeys(text for run in figures["runs"] for text in run["warnings"]):
        yield f"warning: {text}"
