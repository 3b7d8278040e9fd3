"""The sections of a report that set systems side by side, losses as plainly as wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pageann.bench.markup import Section, counted, figure, table_of
from pageann.bench.plots import Axis, Bars, Point, Series, bar_plot, line_plot
from pageann.types import format_bytes

__all__ = ["at_recall", "comparison_sections", "comparison_table"]

OWN = "pageann"
RECALLS = (0.9, 0.95, 0.99)
_OVERSHOOT = 0.005
"""Of recall, from which on the figures of a system that never went lower are marked."""

Peer = Mapping[str, Any]

_FIGURES: tuple[tuple[str, str, bool, Callable[[float], str]], ...] = (
    ("qps", "queries/s", True, lambda value: f"{value:,.0f}"),
    ("kib", "KiB from disk", False, lambda value: f"{value:,.1f}"),
    ("cpu_us", "CPU us", False, lambda value: f"{value:,.0f}"),
    ("p50_us", "p50 us", False, lambda value: f"{value:,.0f}"),
    ("p99_us", "p99 us", False, lambda value: f"{value:,.0f}"),
    ("rss_growth_bytes", "memory added", False, lambda value: format_bytes(int(value))),
)
"""Key, heading, whether more is better, and how it is written."""


def at_recall(runs: Sequence[Mapping[str, Any]], recall: float) -> dict[str, float] | None:
    """The figures at ``recall``, by linear interpolation between the two runs that bracket it.

    None where no run reaches it; where all do, those of the run that overshoots least.
    """
    points = sorted((_plain(run) for run in runs), key=lambda each: each["recall"])
    above = next((number for number, each in enumerate(points) if each["recall"] >= recall), None)
    if above is None:
        return None
    if above == 0:
        return points[0]
    low, high = points[above - 1], points[above]
    share = (recall - low["recall"]) / (high["recall"] - low["recall"])
    return {name: low[name] + share * (high[name] - low[name]) for name in low}


def _plain(run: Mapping[str, Any]) -> dict[str, float]:
    latency = run["latency_us"]
    return {
        **{name: run[name] for name in ("recall", "qps", "kib", "cpu_us", "rss_growth_bytes")},
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "rss_growth_mib": run["rss_growth_bytes"] / (1 << 20),
    }


def comparison_sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    """Nothing, where nothing was compared."""
    comparison = figures.get("comparison")
    if comparison is None:
        return
    peers = comparison["peers"]
    ran = [peer for peer in peers if peer["runs"]]
    yield Section("Comparison: who ran, and how", _conditions(comparison) + _who(peers))
    if not ran:
        return
    for recall in RECALLS:
        yield Section(f"Comparison at recall {recall:g}", _standing(ran, recall))
    yield Section("Comparison: curves", f'<div class="plots">{"".join(_plots(ran, peers))}</div>')
    yield Section("Comparison: all runs", _all_runs(ran))


def comparison_table(comparison: Mapping[str, Any], recall: float = 0.95) -> str:
    """The standing at one recall as text, and a line for each system that did not run."""
    ran = [peer for peer in comparison["peers"] if peer["runs"]]
    head, rows, _ = _grid(ran, recall)
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    trouble = [f"{peer['name']}: {text}" for peer in comparison["peers"] for text in _trouble(peer)]
    return "\n".join(
        [f"at recall {recall:g}, memory cap: {comparison['conditions']['cap']}", *lines, *trouble]
    )


def _conditions(comparison: Mapping[str, Any]) -> str:
    given = comparison["conditions"]
    words = (
        f"Every system has the same vectors, {given['queries']:,} queries, k = {given['k']}, "
        f"{counted(given['concurrency'], 'client')}, and one process of its own for each run; the page cache "
        f"does not hold its files when it starts. {counted(given['repeats'], 'round')} over all, medians. "
        "CPU is user and system time of all threads; KiB are what the process had read from the disk while it"
        " answered (opening and 20 queries to warm up are not counted); memory added is its resident set"
        " after the run, over that after queries were loaded and 1,000 rows were searched with the package."
        f" Memory cap: {given['cap']}."
    )
    return f"<p>{escape(words)}</p>"


def _who(peers: Sequence[Peer]) -> str:
    rows = []
    for peer in peers:
        build = peer.get("build") or {}
        words = ", ".join(f"{name}={value}" for name, value in (build.get("parameters") or {}).items())
        state = "; ".join(_trouble(peer)) or "ran"
        rows.append([peer["name"], peer.get("version") or "", peer["description"], words, state])
    return table_of(("system", "version", "what it is", "built with", "outcome"), rows, kind="words")


def _trouble(peer: Peer) -> Iterator[str]:
    if peer.get("reason"):
        yield f"not run: {peer['reason']}"
    reasons: dict[str, list[str]] = {}
    for failure in peer.get("failures", ()):
        reasons.setdefault(failure["reason"], []).append(_setting(failure["setting"]))
    for reason, settings in reasons.items():
        yield f"{', '.join(settings)}: {reason}"


def _standing(ran: Sequence[Peer], recall: float) -> str:
    head, rows, best = _grid(ran, recall)
    return table_of(head, rows, best) + "".join(f"<p>{escape(line)}</p>" for line in _ranks(ran, recall))


def _grid(
    ran: Sequence[Peer], recall: float
) -> tuple[tuple[str, ...], list[list[str]], set[tuple[int, int]]]:
    """Heading, a row a system, and the places of the best value of each column."""
    head = ("system", *(heading for _, heading, _, _ in _FIGURES))
    reached = [at_recall(peer["runs"], recall) for peer in ran]
    rows = []
    for peer, found in zip(ran, reached, strict=True):
        most = max(run["recall"] for run in peer["runs"])
        cells = [write(found[key]) for key, _, _, write in _FIGURES] if found else ["-"] * len(_FIGURES)
        note = f" (reached {most:.3f})" if not found else ""
        if found and found["recall"] > recall + _OVERSHOOT:
            note = f" (at {found['recall']:.3f}, its least)"
        rows.append([peer["name"] + note, *cells])
    best = set()
    for column, (key, _, more, _) in enumerate(_FIGURES, start=1):
        values = [found[key] if found else (-math.inf if more else math.inf) for found in reached]
        if any(reached):
            best.add((values.index(max(values) if more else min(values)), column))
    return head, rows, best


def _ranks(ran: Sequence[Peer], recall: float) -> Iterator[str]:
    """Where PageANN stands in each figure, best and worst alike."""
    found = {peer["name"]: at_recall(peer["runs"], recall) for peer in ran}
    others = [each for name, each in found.items() if each is not None and not name.startswith(OWN)]
    for name, own in found.items():
        if name.startswith(OWN):
            yield _place_of(name, own, others, recall)


def _place_of(
    name: str, own: Mapping[str, float] | None, others: Sequence[Mapping[str, float]], recall: float
) -> str:
    if own is None:
        return f"{name} did not reach a recall of {recall:g} with these settings."
    parts = []
    for key, heading, more, _ in _FIGURES:
        better = sum(each[key] > own[key] if more else each[key] < own[key] for each in others)
        parts.append(f"{heading}: {better + 1}")
    return f"The place of {name} among it and the {len(others)} others that reach it: {', '.join(parts)}."


def _plots(ran: Sequence[Peer], peers: Sequence[Peer]) -> Iterator[str]:
    names = tuple(peer["name"] for peer in ran)
    for title, note, key, label in (
        ("Throughput", "up and right is better", "qps", "queries/s"),
        ("From disk", "down and right is better; shown as 0.01 where nothing was read", "kib", "KiB a query"),
        ("CPU", "down and right is better", "cpu_us", "us of CPU a query"),
        ("Latency, p99", "down and right is better", "p99_us", "us"),
        ("Memory added", "resident set over that after imports", "rss_growth_mib", "MiB"),
    ):
        lines = [Series(peer["name"], tuple(_points(peer, key, label))) for peer in ran]
        yield figure(title, note, names, line_plot(lines, Axis("recall"), Axis(label, log=True)))
    built = [peer for peer in peers if peer.get("build")]
    if built:
        yield from _build_plots(built)


def _points(peer: Peer, key: str, label: str) -> Iterator[Point]:
    for run in peer["runs"]:
        value = max(_plain(run)[key], 0.01)
        note = f"{peer['name']}, {_setting(run['setting'])}: recall {run['recall']:.4f}, {label} {value:,.2f}"
        yield Point(run["recall"], value, note)


def _build_plots(built: Sequence[Peer]) -> Iterator[str]:
    for title, note, key, write in (
        (
            "Build time",
            "seconds of wall time; not part of the runs",
            "seconds",
            lambda value: f"{value:,.1f} s",
        ),
        ("Build memory", "peak resident set of the building process", "peak_rss_bytes", _size),
        ("On disk", "all files of the index", "disk_bytes", _size),
    ):
        bars = [
            Bars(peer["name"], ((title, peer["build"][key]),))
            for peer in built
            if peer["build"].get(key) is not None
        ]
        if bars:
            yield figure(title, note, (), bar_plot(bars, title, write))


def _size(value: float) -> str:
    return format_bytes(int(value))


def _setting(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in setting.items())


def _all_runs(ran: Sequence[Peer]) -> str:
    return table_of(_RUN_HEAD, [_run_cells(peer, run) for peer in ran for run in peer["runs"]])


_RUN_HEAD = (
    "system", "setting", "recall", "95 % interval", "queries/s", "spread", "KiB", "CPU us", "p50 us",
    "p99 us", "open s", "memory added",
)  # fmt: skip


def _run_cells(peer: Peer, run: Mapping[str, Any]) -> list[str]:
    slow, fast = run["spread"]["qps"]
    low, high = run["recall_ci"]
    return [
        peer["name"], _setting(run["setting"]), f"{run['recall']:.4f}", f"{low:.4f} to {high:.4f}",
        f"{run['qps']:,.0f}", f"{slow:,.0f} to {fast:,.0f}", f"{run['kib']:,.1f}", f"{run['cpu_us']:,.0f}",
        f"{run['latency_us']['p50']:,.0f}", f"{run['latency_us']['p99']:,.0f}", f"{run['open_seconds']:.2f}",
        _size(run["rss_growth_bytes"]),
    ]  # fmt: skip
