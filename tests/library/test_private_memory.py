"""What the private memory of a process grows by, when an index is opened and searched, is within its budget.

Measured in a process of its own, over what it holds after searching a small index of the same type; and once
more under a hard limit of the system, where there is root to set one, which kills a process that takes more.
The whole grid of sizes, types and budgets: ``python -m tests.reference.memory_cells``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.bench.peers.cap import find_hierarchy
from tests.library.samples import WALK, Kind, Sample, Samples
from tests.reference.memory_cells import NOISE_BYTES, broken_promises, run_cell

LARGE = Kind(rows=60_000, dim=64, dtype="uint8", memory="30%")
CODES = Kind(rows=16_000, dim=24, memory="30%", ids="int64")


def small_beside(samples: Samples, sample: Sample) -> Sample:
    """1,000 rows of the same type."""
    kind = sample.kind
    return samples(Kind(rows=1000, dim=kind.dim, dtype=kind.dtype, metric=kind.metric))


def queries_of(sample: Sample, folder: Path) -> Path:
    """A file of a thousand queries, or nearly."""
    np.save(folder / "queries.npy", np.tile(sample.queries, (30, 1)))
    return folder / "queries.npy"


def cell(samples: Samples, sample: Sample, budget: str, folder: Path, **limit: Any) -> dict[str, Any]:
    """What a process says that opened ``sample`` within ``budget``; it kept what was promised."""
    small = small_beside(samples, sample).path
    facts = run_cell(small, sample.path, budget, queries_of(sample, folder), **limit)
    assert broken_promises(facts) == []
    return facts


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["10%", "30%", "100%", "200%"])
def test_growth_is_within_the_budget(samples: Samples, budget: str, tmp_path: Path) -> None:
    cell(samples, samples(LARGE), budget, tmp_path)


@pytest.mark.parametrize(("kind", "budget"), [(CODES, "100%"), (WALK, "110KiB")], ids=["codes", "walk"])
def test_growth_of_small_indexes(samples: Samples, kind: Kind, budget: str, tmp_path: Path) -> None:
    cell(samples, samples(kind), budget, tmp_path)


def test_the_same_answers_under_a_hard_limit(samples: Samples, tmp_path: Path) -> None:
    hierarchy = find_hierarchy()
    if hierarchy is None:
        pytest.skip("no memory cgroup can be made here")
    sample = samples(CODES)
    free = cell(samples, sample, "30%", tmp_path)
    limit = free["budget_bytes"] + NOISE_BYTES
    held = cell(samples, sample, "30%", tmp_path, hierarchy=hierarchy, limit=limit)
    assert (held["answers"], held["reads"]) == (free["answers"], free["reads"])


def test_a_budget_that_is_refused_is_told(samples: Samples, tmp_path: Path) -> None:
    sample = samples(CODES)
    small = small_beside(samples, sample).path
    facts = run_cell(small, sample.path, "1000", queries_of(sample, tmp_path))
    assert facts["refused"] > 1000
    assert broken_promises(facts) == [f"refused again, with {facts['refused']} bytes as the least"]
