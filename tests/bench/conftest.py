"""A benchmark's inputs on disk, over an index in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pageann.bench.options import BenchOptions
from tests.reference.exact_index import ExactIndex, ExactLibrary

ROWS, DIM, QUERIES, DEPTH = 200, 8, 40, 12


@pytest.fixture
def index() -> ExactIndex:
    """200 vectors of 8 dimensions."""
    return ExactIndex(np.random.default_rng(3).standard_normal((ROWS, DIM)).astype(np.float32))


@pytest.fixture
def library(index: ExactIndex, monkeypatch: pytest.MonkeyPatch) -> ExactLibrary:
    """``pageann.api``, with that index behind every path."""
    library = ExactLibrary(index)
    monkeypatch.setitem(sys.modules, "pageann.api", library)
    return library


@pytest.fixture
def options(index: ExactIndex, tmp_path: Path) -> BenchOptions:
    """Files of 40 queries and their 12 true neighbours."""
    queries = np.random.default_rng(4).standard_normal((QUERIES, DIM)).astype(np.float32)
    np.save(tmp_path / "queries.npy", queries)
    np.save(tmp_path / "truth.npy", index.search(queries, DEPTH).ids)
    return BenchOptions("some.pageann", str(tmp_path / "queries.npy"), str(tmp_path / "truth.npy"))
