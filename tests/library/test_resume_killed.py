"""Builds of 50,000 vectors that are killed for real, at thirty random moments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from tests.reference.kill_builds import kill_builds


@pytest.mark.slow
def test_killed_thirty_times_at_random_moments(tmp_path: Path) -> None:
    base, _ = clustered(50_000, 32, dtype="uint8", queries=1, seed=4)
    np.save(tmp_path / "base.npy", base)
    outcome = kill_builds(tmp_path / "base.npy", tmp_path / "work", 30, 1, ["--build-memory", "200MiB"])
    assert outcome.kills == 30
    assert outcome.is_equal
    assert outcome.lost_seconds <= max(10.0, 0.1 * outcome.whole_seconds)
