"""The report as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pageann.bench.compared import comparison_sections
from pageann.bench.markup import Section, counted, figure, table_of
from pageann.bench.options import THREADS
from pageann.bench.plots import Axis, Bars, Point, Series, bar_plot, line_plot
from pageann.types import format_bytes

__all__ = ["html_report", "write_html"]

_STYLE = """
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1b1f24; max-width: 1240px; margin: 0 auto;
  padding: 24px; background: #fff; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 8px; }
p.lead { color: #57606a; margin: 0 0 16px; } .plots { display: grid; gap: 22px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); }
figure { margin: 0; border: 1px solid #d8dee4; border-radius: 6px; padding: 12px; }
figcaption { font-weight: 600; margin-bottom: 2px; }
figcaption small { display: block; font-weight: 400; color: #57606a; }
svg { width: 100%; height: auto; }
svg .grid { stroke: #e3e7eb; } svg text { font-size: 11.5px; fill: #57606a; }
svg text.axis { font-size: 12.5px; fill: #1b1f24; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; margin: 4px 0; }
.legend i { display: inline-block; width: 11px; height: 11px; margin-right: 5px; border-radius: 2px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; border-bottom: 1px solid #e3e7eb; text-align: right; white-space: nowrap; }
th { background: #f6f8fa; } td:first-child, th:first-child { text-align: left; } .wide { overflow-x: auto; }
table.words td, table.words th { text-align: left; white-space: normal; }
td.best { font-weight: 700; color: #00704a; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; }
dt { color: #57606a; } dd { margin: 0; } .warning { background: #fff4e5; border-left: 4px solid #d55e00;
  padding: 6px 12px; margin: 8px 0; } code { font-size: 13px; }
"""


def write_html(figures: Mapping[str, Any], path: str) -> None:
    """Write the report on ``figures`` (schema ``pageann.bench/1``) to ``path``."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(html_report(figures))


def html_report(figures: Mapping[str, Any]) -> str:
    """The report as text."""
    facts = figures["index"]
    title = f"PageANN on {facts['rows']:,} x {facts['dim']} {facts['dtype']}, {facts['metric']}"
    sections = [*_sections(figures), *comparison_sections(figures)]
    body = "\n".join(f"<h2>{escape(one.title)}</h2>\n{one.body}" for one in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{figures["dataset"]["query_count"]:,} queries, k = {figures["runs"][0]["k"]}.'
        " Recall counts rows whose exact distance is at most that of the k-th true neighbour.</p>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    warnings = list(_warnings(figures))
    if warnings:
        yield Section(
            "Read this first", "\n".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
        )
    yield Section("Machine, device and index", _facts(figures))
    yield Section("Quality and cost", f'<div class="plots">{"".join(_plots(figures))}</div>')
    yield Section("All runs", _run_table(figures["runs"]))


def _warnings(figures: Mapping[str, Any]) -> Iterator[str]:
    if not figures["device_probe"]["direct_io"]:
        yield "The file system refused direct reads: figures come from the page cache. Do not quote them."
    yield from dict.fromkeys(text for run in figures["runs"] for text in run["warnings"])


def _facts(figures: Mapping[str, Any]) -> str:
    machine, probe, facts = figures["machine"], figures["device_probe"], figures["index"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    ram = format_bytes(machine["ram_bytes"])
    pairs = {
        "processor": f"{machine['cpu']}, {machine['cores']} cores usable, {ram}",
        "system": f"{machine['system']}, Python {machine['python']}; {packages}",
        "load before the runs": str(machine.get("load_average", "not known")),
        "device": f"{format_bytes(probe['read_bytes'])} reads, {probe['driver']}: "
        f"{probe['latency_us']['p50']:.0f} us alone, {probe['reads_per_second_at_depth']:,.0f} reads/s"
        f" at depth {probe['depth']}",
        "yardstick": f"scan ratio 1 = {machine['scan_cpu_us']:.0f} us of CPU, an exact scan of"
        f" {machine['scan_rows']:,} rows",
        "index": f"{format_bytes(facts['index_bytes'])} on disk, {facts['index_over_raw']:.2f} x the vectors"
        if "index_bytes" in facts
        else "size not known",
    }
    return "<dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs.items()) + "</dl>"


def _plots(figures: Mapping[str, Any]) -> Iterator[str]:
    runs = figures["runs"]
    recall = Axis(f"recall@{runs[0]['k']}")
    yield _lines("Throughput", "up and right is better", runs, recall, "qps", "queries/s")
    yield _lines("Device reads", "down and right is better", runs, recall, "reads", "reads a query")
    yield _lines(
        "Read units",
        "1 for the first 4 KiB of a read, 0.5 for each further",
        runs,
        recall,
        "units",
        "units a query",
    )
    yield _lines("CPU", "user and system time of all threads", runs, recall, "cpu_us", "us of CPU a query")
    latency = [
        Bars(_name(run), tuple((p, run["latency_us"][p]) for p in ("p50", "p95", "p99"))) for run in runs
    ]
    yield figure(
        "Latency",
        "of the call that answered a query, in us: p50, p95, p99",
        ("p50", "p95", "p99"),
        bar_plot(latency, "latency in us", lambda value: f"{value:,.0f}"),
    )
    yield figure(
        "Memory",
        "the ledger's total, and the whole process with interpreter and benchmark",
        ("resident", "process"),
        bar_plot(list(_memory_bars(runs)), "memory", _size),
    )
    yield _device_plot(figures["device_probe"])
    if "index_bytes" in figures["index"]:
        yield figure(
            "On disk", "what the build made", (), bar_plot(list(_disk_bars(figures["index"])), "disk", _size)
        )


def _lines(title: str, note: str, runs: Sequence[Mapping[str, Any]], x: Axis, key: str, label: str) -> str:
    grouped: dict[str, list[Point]] = {}
    for run in runs:
        text = f"{_name(run)}: recall {run['recall']:.4f}, {label} {run[key]:,.2f}"
        grouped.setdefault(_group(run), []).append(Point(run["recall"], run[key], text))
    series = [Series(name, tuple(points)) for name, points in grouped.items()]
    log = min(point.y for one in series for point in one.points) > 0
    return figure(title, note, tuple(grouped), line_plot(series, x, Axis(label, log)))


def _device_plot(probe: Mapping[str, Any]) -> str:
    points = tuple(
        Point(
            each["depth"],
            each["reads_per_second"],
            f"depth {each['depth']}: {each['reads_per_second']:,.0f}"
            f" reads/s, a round takes {each['round_us']['p50']:.0f} us",
        )
        for each in probe.get("depths", ())
    ) or (Point(probe["depth"], probe["reads_per_second_at_depth"], "at depth"),)
    plot = line_plot([Series("device", points)], Axis("reads in flight", True), Axis("reads/s", True))
    return figure("The device itself", "random reads of the index's own pages, past the page cache", (), plot)


def _memory_bars(runs: Sequence[Mapping[str, Any]]) -> Iterator[Bars]:
    seen: dict[str, Mapping[str, Any]] = {_group(run): run for run in runs}
    for name, run in seen.items():
        yield Bars(name, (("resident", run["resident_bytes"]), ("process", run["rss_bytes"])))


def _disk_bars(facts: Mapping[str, Any]) -> Iterator[Bars]:
    yield Bars("vectors alone", (("bytes", facts["raw_bytes"]),))
    yield Bars("index", (("bytes", facts["index_bytes"]),))
    for name, size in facts.get("files", {}).items():
        yield Bars(name, (("bytes", size),))


def _size(value: float) -> str:
    return format_bytes(int(value))


def _group(run: Mapping[str, Any]) -> str:
    """What runs have in common that differ only in how hard they look."""
    parts = [run["memory"] or format_bytes(run["memory_bytes"]), counted(run["concurrency"], "client")]
    if run["clients"] != THREADS:
        parts[-1] += f" ({run['clients']})"
    if run.get("rate"):
        parts.append(f"{run['rate']:g}/s")
    if run.get("threads"):
        parts.append(f"{run['threads']} threads")
    if run.get("start") == "cold":
        parts.append("cold")
    return ", ".join(parts)


def _name(run: Mapping[str, Any]) -> str:
    aim = f"recall {run['recall_target']:g}" if run["recall_target"] else f"effort {run['effort']:g}"
    return f"{_group(run)}, {aim}"


def _run_table(runs: Sequence[Mapping[str, Any]]) -> str:
    return table_of(_RUN_HEAD, [_run_cells(run) for run in runs])


_RUN_HEAD = (
    "run", "recall", "95 % interval", "queries/s", "spread", "reads", "KiB", "units", "hops", "CPU us",
    "scan ratio", "mean us", "p50", "p99", "p99.9", "of device", "resident", "process",
)  # fmt: skip


def _run_cells(run: Mapping[str, Any]) -> list[str]:
    latency = run["latency_us"]
    low, high = run["spread"]["qps"] if "spread" in run else (run["qps"], run["qps"])
    return [
        _name(run), f"{run['recall']:.4f}", f"{run['recall_ci'][0]:.4f} to {run['recall_ci'][1]:.4f}",
        f"{run['qps']:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{run['reads']:.2f}", f"{run['kib']:.1f}",
        f"{run['units']:.2f}", f"{run['hops']:.2f}", f"{run['cpu_us']:,.0f}", f"{run['scan_ratio']:.2f}",
        *(f"{latency[point]:,.0f}" for point in ("mean", "p50", "p99", "p999")),
        f"{run.get('device_share', 0):.1%}", _size(run["resident_bytes"]), _size(run["rss_bytes"]),
    ]  # fmt: skip
