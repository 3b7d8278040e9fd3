"""Say what a build will take before it is begun: a small one is built, and stretched to the whole.

Two samples of the input are built with the shape of the whole, in a temporary folder. Phases grow in
proportion to the rows, or a little faster, but for codes, whose training takes a sample of limited
size, and calibration, which runs a fixed number of queries whose cost grows with each doubling.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.base import block_rows_for
from pageann.datasets.source import VectorSource, open_vectors
from pageann.index.builder.coding import sample_rows
from pageann.index.builder.disk_room import DiskRoom, most_id_bytes
from pageann.index.builder.fitting import fitted_plan, opening_plan
from pageann.index.builder.layout import Plan
from pageann.index.builder.needs import Needs, build_budget, build_needs, expected_peak_bytes
from pageann.index.builder.options import BuildOptions
from pageann.index.builder.pipeline import PHASE_WEIGHTS, build_index, checked_ids
from pageann.index.builder.quantizer import ROUNDS
from pageann.index.builder.remembered import RememberedPlan, remember_plan
from pageann.index.machine import resident_bytes
from pageann.results import BuildReport, Ledger
from pageann.types import ByteSize

__all__ = ["Forecast", "forecast_build"]

_SMALL_ROWS = 6000
_SAMPLE_ROWS = 24_000
_SAMPLE_MEMORY_BYTES = 64 << 20
"""Enough for the shape of any index over so few rows."""
_CALIBRATION_GROWTH = 0.33
"""Of its cost on the larger sample, with each doubling of the rows."""
_GROWTH = {"neighbours": 1.02, "packing": 1.1, "copies": 1.1}
"""By how much a row costs more with each doubling: ever more of what they look up is in no cache."""
_CODING_ROUNDS = 3
"""What coding a row once costs, with its residual and its constant, in rounds of training."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build will take, by the build of a sample on this machine."""

    rows: int
    dim: int
    dtype: str
    metric: str
    phases: tuple[tuple[str, float], ...]
    """Name and seconds of each phase, in order."""
    peak_rss_bytes: int
    """Of the process."""
    needs: Needs
    build_memory_bytes: int
    ledger: Ledger
    """Of the index, opened with the memory it is built for."""
    usual_units: float | None
    """Read units of a search for ten at recall 0.95, with nothing pinned."""
    probe_seconds: float

    @property
    def seconds(self) -> float:
        """The whole build."""
        return sum(seconds for _, seconds in self.phases)


def forecast_build(source: VectorSource, options: BuildOptions) -> Forecast:
    """Predict the build of ``source``; takes some ten seconds and writes to a temporary folder only.

    Raises what the build itself would refuse at its start: BudgetTooSmall, InvalidArgument.
    """
    memory_bytes = max(options.memory.resolve(source.bytes), options.least_memory_bytes)
    facts = source.rows, source.dim, source.dtype
    disk = None
    if options.disk_bytes is not None:
        disk = DiskRoom(options.disk_bytes, most_id_bytes(checked_ids(source, None), source.rows))
    plan = fitted_plan(*facts, options.metric, memory_bytes, options.page_bytes, disk, options.codes)
    needs = build_needs(*facts, plan, memory_bytes, options, disk)
    budget = build_budget(options, needs, source.bytes)
    opened = opening_plan(*facts, options.metric, plan, memory_bytes)
    start_bytes = resident_bytes()
    sizes = sorted({min(source.rows, rows) for rows in (_SMALL_ROWS, _SAMPLE_ROWS)})
    sample = _sample(source, sizes[-1])
    with tempfile.TemporaryDirectory(prefix="pageann-plan-") as folder:
        reports = [
            _build_sample(
                sample[:: max(1, len(sample) // rows)], plan, Path(folder) / str(rows), options, source.rows
            )
            for rows in sizes
        ]
    phases = tuple(_phases(reports[-1], source.rows, source.dim))
    peak = expected_peak_bytes(start_bytes, budget, needs)
    units = _units(reports, source.rows)
    forecast = Forecast(
        source.rows,
        source.dim,
        str(source.dtype),
        options.metric.label,
        phases,
        peak,
        needs,
        budget,
        opened.ledger,
        units,
        sum(report.seconds for report in reports),
    )
    remember_plan(source, options, memory_bytes, RememberedPlan(forecast.seconds, units))
    return forecast


def _units(reports: list[BuildReport], rows: int) -> float | None:
    """Read units at the usual recall: what they grow by with each doubling, they go on growing by."""
    known = [(math.log2(report.rows), report.usual_units) for report in reports]
    if any(units is None for _, units in known):
        return None
    (first, low), (last, high) = known[0], known[-1]
    assert low is not None
    assert high is not None
    growth = max(0.0, (high - low) / (last - first)) if last > first else 0.0
    return high + growth * (math.log2(rows) - last)


def _sample(source: VectorSource, rows: int) -> npt.NDArray[Any]:
    """Rows spread evenly over the input."""
    mapped = source.mapped(None)
    wanted = np.linspace(0, source.rows - 1, rows).astype(np.int64)
    step = block_rows_for(source.dim, source.dtype.itemsize)
    parts = [np.ascontiguousarray(mapped[wanted[first : first + step]]) for first in range(0, rows, step)]
    return np.concatenate(parts)


def _build_sample(
    vectors: npt.NDArray[Any], plan: Plan, path: Path, options: BuildOptions, rows: int
) -> BuildReport:
    """With the shape of the whole, of ``rows``, whatever memory that takes of so few rows."""
    smaller = dataclasses.replace(
        options,
        memory=ByteSize(_SAMPLE_MEMORY_BYTES, 0.0),
        least_memory_bytes=0,
        build_memory=None,
        codes=plan.shape.code_family,  # not what is best within the memory of a sample
        resume=False,
    )
    capacity = min(plan.shape.capacity, len(vectors))
    copy_pages = math.ceil(plan.shape.copy_pages * len(vectors) / rows)
    copy_pages = min(copy_pages, len(vectors) // capacity)
    shape = dataclasses.replace(plan.shape, capacity=capacity, copy_pages=copy_pages)
    shaped = dataclasses.replace(plan, shape=shape)
    return build_index(open_vectors(vectors), path, None, smaller, plan=shaped)


def _phases(report: BuildReport, rows: int, dim: int) -> Iterable[tuple[str, float]]:
    """Seconds of each phase of ``rows``, from the build of a sample."""
    factors = dict.fromkeys(PHASE_WEIGHTS, rows / report.rows)
    doublings = math.log2(max(1.0, rows / report.rows))
    for name, growth in _GROWTH.items():
        factors[name] *= growth**doublings
    factors["calibration"] = 1 + _CALIBRATION_GROWTH * math.log2(max(1.0, rows / report.rows))
    factors["codes"] = _code_work(rows, dim) / _code_work(report.rows, dim)
    for name, seconds in report.phases:
        yield name, seconds * factors[name]


def _code_work(rows: int, dim: int) -> float:
    """Rows that are coded, in a way: each round of training codes its sample once more."""
    return ROUNDS * min(rows, sample_rows(dim)) + _CODING_ROUNDS * rows
