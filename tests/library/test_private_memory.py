"""What the private memory of a process grows by, when an index is opened and searched, is within its budget.

Measured in a process of its own, over what it holds after searching a small index of the same type.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.library.samples import Kind, Sample, Samples

NOISE_BYTES = 2 << 20
LARGE = Kind(rows=60_000, dim=64, dtype="uint8", memory="30%")
SMALL = Kind(rows=1000, dim=64, dtype="uint8")


@pytest.fixture(scope="module")
def large(samples: Samples) -> Sample:
    """60,000 x 64 uint8, built for 30 % of its 3.7 MiB."""
    return samples(LARGE)


def growth(small: Sample, large: Sample, budget: str, folder: Path) -> dict[str, Any]:
    """The figures of a process that opens ``large`` within ``budget``."""
    queries = np.tile(large.queries, (30, 1))
    np.save(folder / "queries.npy", queries)
    command = [sys.executable, "-m", "tests.reference.memory_growth"]
    arguments = [str(small.path), str(large.path), budget, str(folder / "queries.npy")]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["10%", "30%", "100%", "200%"])
def test_growth_is_within_the_budget(samples: Samples, large: Sample, budget: str, tmp_path: Path) -> None:
    found = growth(samples(SMALL), large, budget, tmp_path)
    assert found["ledger_bytes"] <= found["budget_bytes"]
    assert found["growth_bytes"] <= found["budget_bytes"] + NOISE_BYTES
    assert found["imported"] == []
