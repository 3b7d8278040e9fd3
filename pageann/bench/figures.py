"""One run as figures, and several repeats of it as one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.inputs import BenchInputs
from pageann.bench.loop import LoopResult
from pageann.bench.recall import bootstrap_interval
from pageann.datasets.truth import recall_at_k

__all__ = ["latency_figures", "loop_figures", "merged"]

_LATENCY_POINTS = (("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9))
_SPREAD_OF = ("recall", "qps", "cpu_us", "reads", "rss_bytes")


def loop_figures(
    loop: LoopResult, inputs: BenchInputs, truth: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """What one loop found and took, as plain values; ``truth`` is (q, k) distances, ascending."""
    count = len(inputs.queries)
    recalls = recall_at_k(loop.distances, truth, truth.shape[1])
    means = loop.stats.means()
    return {
        "queries": count,
        "recall": float(recalls.mean()),
        "recall_ci": list(bootstrap_interval(recalls, inputs.groups, seed)),
        "qps": count / loop.wall_seconds,
        "latency_us": latency_figures(loop.latency_us),
        "reads": means["reads"],
        "kib": means["kib"],
        "units": means["units"],
        "hops": means["hops"],
        "codes_scored": means["codes_scored"],
        "pinned_hits": means["pinned_hits"],
        "shared_reads": means["shared_reads"],
        "cpu_us": loop.cpu_seconds / count * 1e6,
        "stopped": loop.stats.stops(),
        "warnings": list(loop.stats.warnings),
    }


def latency_figures(latency_us: NDArray[np.float64]) -> dict[str, float]:
    """Mean and percentiles."""
    points = {name: float(np.percentile(latency_us, share)) for name, share in _LATENCY_POINTS}
    return {"mean": float(latency_us.mean()), **points}


def merged(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several measurements of the same combination as one: medians, and the range of the main figures.

    What is no number is taken from the first; warnings of all are kept, each once.
    """
    run: dict[str, Any] = _median(repeats)
    names = [name for name in _SPREAD_OF if name in run]
    run["warnings"] = list(dict.fromkeys(text for one in repeats for text in one["warnings"]))
    run["repeats"] = len(repeats)
    run["spread"] = {name: _range([one[name] for one in repeats]) for name in names}
    for point in ("p50", "p99"):
        run["spread"][f"latency_us_{point}"] = _range([one["latency_us"][point] for one in repeats])
    return run


def _median(values: Sequence[Any]) -> Any:
    """The median of numbers; of lists and objects, place by place."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _median([value[name] for value in values if name in value]) for name in first}
    if isinstance(first, list) and all(len(value) == len(first) for value in values):
        return [_median(items) for items in zip(*values, strict=True)]
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return first if all(value == first for value in values) else median(values)
    return first


def _range(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]
