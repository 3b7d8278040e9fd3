"""The same questions to other systems: same vectors, same k, same machine, and where it can be, the same cap.

Every system builds in a process of its own (kept between runs, not counted) and answers each setting in
another one, so that neither its memory nor what the page cache holds comes from an earlier run. All
settings of all systems are run in turn, and then all again, so that a busy minute hits everyone alike.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.bench.cold import forget_files
from pageann.bench.figures import latency_figures, merged
from pageann.bench.inputs import BenchInputs, read_inputs
from pageann.bench.options import BenchOptions
from pageann.bench.peers.cap import Hierarchy, capped, find_hierarchy
from pageann.bench.peers.contract import Case
from pageann.bench.peers.launch import PeerFailure, run_worker
from pageann.bench.peers.registry import OWN, kind_of
from pageann.bench.peers.store import Store
from pageann.bench.peers.worker import INDEX
from pageann.bench.recall import bootstrap_interval, true_distances
from pageann.datasets.truth import exact_distances, recall_at_k
from pageann.types import Metric, format_bytes, parse_bytes

__all__ = ["CompareOptions", "compare"]

_BUILD_SECONDS = 3600.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Who is compared, and how."""

    names: tuple[str, ...]
    folder: str
    """Where data and builds are kept."""
    cap: str | None = None
    """Memory that a system may take over interpreter and imports, such as ``40%`` of the vectors."""
    seconds: float = 300.0
    """For one run, after which it is given up."""

    def __post_init__(self) -> None:
        """InvalidArgument for a name or a size that is none, before anything is measured."""
        for name in self.names:
            kind_of(name)
        if self.cap is not None:
            parse_bytes(self.cap, option="compare-cap")


@dataclass(slots=True, eq=False)
class _Entrant:
    """One system on its way through the comparison."""

    name: str
    label: str
    case: Case
    report: dict[str, Any]
    folder: Path = Path()
    settings: list[dict[str, Any]] = field(default_factory=list)
    repeats: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Runs by the number of the setting."""


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """What everyone is asked, and what the right answers are."""

    inputs: BenchInputs
    truth: NDArray[np.float64]
    base: NDArray[Any]
    file: Path
    metric: Metric


def compare(options: BenchOptions, wanted: CompareOptions, say: Say) -> dict[str, Any]:
    """The object ``comparison`` of the schema ``pageann.bench/1``; ``say`` is told each step."""
    with tempfile.TemporaryDirectory(prefix="pageann-questions-") as scratch:
        with pageann.open(options.index, io=options.io) as index:
            inputs = read_inputs(options, index.rows)
            truth = true_distances(index, inputs, options.truth)
            store = Store(Path(wanted.folder), index)
            entrants = list(_entrants(options, wanted, index))
            metric = Metric.parse(index.metric)
        file = Path(scratch) / "queries.npy"
        np.save(file, inputs.queries)
        questions = _Questions(inputs, truth, np.load(store.base, mmap_mode="r"), file, metric)
        for entrant in entrants:
            _prepare(entrant, store, say)
        cap = _Cap.of(wanted.cap, questions.base)
        for number in range(options.repeats):
            say(f"round {number + 1} of {options.repeats}")
            _round(entrants, options, wanted, questions, cap, say)
    return {
        "conditions": _conditions(options, questions, cap),
        "peers": [_finished(each) for each in entrants],
    }


@dataclass(frozen=True, slots=True)
class _Cap:
    """The limit on memory, and whether it can be enforced."""

    limit_bytes: int
    hierarchy: Hierarchy | None
    words: str

    @classmethod
    def of(cls, text: str | None, base: NDArray[Any]) -> _Cap:
        """From what the user wrote."""
        if text is None:
            return cls(0, None, "none asked for")
        limit = parse_bytes(text, option="compare-cap").resolve(base.nbytes)
        hierarchy = find_hierarchy()
        size = (
            f"{format_bytes(limit)} ({limit / base.nbytes:.0%} of the vectors) over interpreter and imports"
        )
        if hierarchy is None:
            return cls(limit, None, f"{size}: NOT enforced, since no memory cgroup can be made here")
        return cls(limit, hierarchy, f"{size}, by a memory cgroup (version {hierarchy.version})")

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None] | None]:
        """What to call with the process id of a worker that is ready."""
        if self.hierarchy is None:
            yield None
            return
        with capped(self.hierarchy, self.limit_bytes, f"pageann-compare-{os.getpid()}") as cap:
            yield cap.hold


def _entrants(options: BenchOptions, wanted: CompareOptions, index: pageann.Index) -> Iterator[_Entrant]:
    """Ourselves once a budget, and each peer."""
    given = index.describe().get("options", {})
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shape = (index.rows, index.dim, str(index.dtype), index.metric, threads)
    own = {"page_bytes": given.get("page_bytes") or None, "seed": given.get("seed", 0)}
    for memory in options.memories or (None,):
        case = Case(*shape, options={"memory": memory or given.get("memory_bytes"), **own})
        label = OWN if memory is None else f"{OWN} {memory}"
        yield _Entrant(OWN, label, case, _blank_report(OWN, label))
    for name in wanted.names:
        if name != OWN:
            yield _Entrant(name, name, Case(*shape, options={}), _blank_report(name, name))


def _blank_report(name: str, label: str) -> dict[str, Any]:
    description = kind_of(name).description
    return {
        "name": label,
        "version": None,
        "description": description,
        "reason": None,
        "build": None,
        "failures": [],
    }


def _prepare(entrant: _Entrant, store: Store, say: Say) -> None:
    """Import it and see to its build; what goes wrong is its reason for not running."""
    report = entrant.report
    report["reason"] = kind_of(entrant.name).refusals.get(entrant.case.metric)
    if report["reason"]:
        return
    try:
        described = run_worker(
            {"action": "describe", "peer": entrant.name, "case": asdict(entrant.case)}, 120
        )
        report["version"], entrant.settings = described["version"], described["settings"]
        say(f"{entrant.label} {described['version']}: built, or being built now")
        entrant.folder, report["build"] = store.built(
            entrant.name, entrant.label, entrant.case, described, _BUILD_SECONDS
        )
    except PeerFailure as failure:
        report["reason"] = str(failure)
        entrant.settings = []
        say(f"{entrant.label}: not run: {failure}")


def _round(
    entrants: list[_Entrant],
    options: BenchOptions,
    wanted: CompareOptions,
    questions: _Questions,
    cap: _Cap,
    say: Say,
) -> None:
    most = max((len(each.settings) for each in entrants), default=0)
    for number in range(most):
        for entrant in entrants:
            if number < len(entrant.settings):
                _run(entrant, number, options, wanted, questions, cap, say)


def _run(
    entrant: _Entrant,
    number: int,
    options: BenchOptions,
    wanted: CompareOptions,
    questions: _Questions,
    cap: _Cap,
    say: Say,
) -> None:
    """One setting of one system in a process of its own; a failure is kept, and said once."""
    setting = entrant.settings[number]
    if any(failure["setting"] == setting for failure in entrant.report["failures"]):
        return
    say(f"{entrant.label}, {' '.join(f'{name}={value}' for name, value in setting.items())}")
    with tempfile.TemporaryDirectory(prefix="pageann-answers-") as scratch:
        task = {
            "action": "search", "peer": entrant.name, "case": asdict(entrant.case),
            "folder": str(entrant.folder),
            "queries": str(questions.file), "k": options.k, "setting": setting,
            "concurrency": options.concurrencies[0], "ids": f"{scratch}/ids.npy",
            "latencies": f"{scratch}/latencies.npy",
        }  # fmt: skip
        forget_files(entrant.folder / INDEX)
        try:
            with cap.holding() as hold:
                result = run_worker(task, wanted.seconds, when_ready=hold)
        except PeerFailure as failure:
            entrant.report["failures"].append({"setting": setting, "reason": str(failure)})
            say(f"{entrant.label}: {failure}")
            return
        run = _figures(result, Path(scratch), questions, options)
    entrant.repeats.setdefault(number, []).append({"setting": setting, **run})


def _figures(
    result: dict[str, Any], scratch: Path, questions: _Questions, options: BenchOptions
) -> dict[str, Any]:
    ids, latency_us = np.load(scratch / "ids.npy"), np.load(scratch / "latencies.npy")
    count = len(ids)
    recalls = recall_at_k(_distances(ids, questions), questions.truth, questions.truth.shape[1])
    return {
        "recall": float(recalls.mean()),
        "recall_ci": list(bootstrap_interval(recalls, questions.inputs.groups, options.seed)),
        "qps": count / result["wall_seconds"],
        "latency_us": latency_figures(latency_us),
        "kib": result["read_bytes"] / 1024 / count,
        "cpu_us": result["cpu_seconds"] / count * 1e6,
        "open_seconds": result["open_seconds"],
        "start_read_bytes": result["start_read_bytes"],
        "rss_growth_bytes": max(0, result["rss_growth_bytes"]),
        "private_growth_bytes": max(0, result["private_growth_bytes"]),
        "peak_rss_bytes": result["peak_rss_bytes"],
        "warnings": [],
    }


def _distances(ids: NDArray[np.int64], questions: _Questions) -> NDArray[np.float64]:
    """(q, k) exact distances of what was found, ascending, inf where nothing was; no row counts twice."""
    found = np.full(ids.shape, np.inf)
    for number, query in enumerate(questions.inputs.queries):
        rows = np.unique(ids[number])
        rows = rows[(rows >= 0) & (rows < len(questions.base))]
        found[number, : len(rows)] = np.sort(exact_distances(questions.base[rows], query, questions.metric))
    return found


def _finished(entrant: _Entrant) -> dict[str, Any]:
    runs = [merged(entrant.repeats[number]) for number in sorted(entrant.repeats)]
    return {**entrant.report, "runs": runs}


def _conditions(options: BenchOptions, questions: _Questions, cap: _Cap) -> dict[str, Any]:
    return {
        "k": options.k,
        "queries": len(questions.inputs.queries),
        "concurrency": options.concurrencies[0],
        "repeats": options.repeats,
        "vector_bytes": questions.base.nbytes,
        "cap": cap.words,
        "cap_bytes": cap.limit_bytes,
        "cap_enforced": cap.hierarchy is not None,
    }
