"""What was put in comes out byte for byte, under every metric and layout: by id, and as a whole file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pageann
from tests.library.samples import DTYPES, METRICS, TWO_TIER, WALK, Kind, Sample, Samples

KINDS = [
    *(Kind(dtype=dtype, metric=metric) for dtype in DTYPES for metric in METRICS),
    *(Kind(rows=300, dim=768, memory="100%", metric=metric) for metric in METRICS),
    TWO_TIER,
    WALK,
    Kind(dim=1, dtype="uint8"),
    Kind(rows=5, dim=8),
]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind.rows}x{kind.dim}-{kind.dtype}-{kind.metric}")
def sample(request: pytest.FixtureRequest, samples: Samples) -> Sample:
    """Each type under each metric, each layout."""
    return samples(request.param)


def test_get(sample: Sample) -> None:
    rows = np.random.default_rng(3).integers(0, len(sample.base), 50)
    with sample.open() as index:
        got = index.get(rows)
    assert got.dtype == sample.base.dtype
    assert got.tobytes() == sample.base[rows].tobytes()


def test_export(sample: Sample, tmp_path: Path) -> None:
    with sample.open() as index:
        index.export(tmp_path / "all.npy")
    whole = np.load(tmp_path / "all.npy")
    assert whole.dtype == sample.base.dtype
    assert whole.tobytes() == sample.base.tobytes()


def test_special_values_survive(tmp_path: Path) -> None:
    base = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    base[5] = 0.0
    base[6] = -0.0
    base[7] = np.finfo(np.float32).smallest_subnormal
    base[8] = 1e18
    base[9] = -1e18
    pageann.build(base, tmp_path / "index", memory="1MiB")
    with pageann.open(tmp_path / "index") as index:
        assert index.get(np.arange(64)).tobytes() == base.tobytes()


def test_what_an_index_says_of_itself(sample: Sample) -> None:
    with sample.open() as index:
        assert (index.rows, index.dim) == sample.base.shape
        assert len(index) == index.rows
        assert index.dtype == sample.base.dtype
        assert index.metric == sample.kind.metric
        assert f"{index.rows:,} x {index.dim} {index.dtype}, {index.metric}" in repr(index)
        facts = index.describe()
    assert facts["raw_bytes"] == sample.base.nbytes
    assert facts["index_bytes"] == sum(file.stat().st_size for file in sample.path.glob("seg-*/*"))
