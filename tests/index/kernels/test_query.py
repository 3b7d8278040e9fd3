"""A query that is loaded wrongly is compared with other vectors than the stored ones.

For every type and metric the exact distance, brought into navigation space, must be the score there,
and the tables must estimate scores of what codes stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.kernels import state
from pageann.index.kernels.distance import scalar_quantised_value
from pageann.index.kernels.query import load_query
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace
from pageann.types import DTYPES, Metric
from tests.reference.code_twin import WORDS
from tests.reference.distance_twin import distance
from tests.reference.navigation_twin import (
    navigation_query,
    navigation_vectors,
    score,
    stored_codebook,
    stored_rotation,
)
from tests.reference.small_segment import build_small, small_shape, workspace_for

DIM = 11
SLOT = 1


@dataclass
class Loaded:
    """An open segment, and a query in a slot of a workspace."""

    vectors: NDArray[Any]
    query: NDArray[Any]
    metric: Metric
    segment: LoadedSegment
    workspace: Workspace


@pytest.fixture(
    params=[(dtype, metric) for dtype in DTYPES for metric in Metric], ids=lambda p: f"{p[0]}-{p[1].label}"
)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    """Each element type under each metric."""
    dtype, metric = request.param
    vectors, queries = clustered(150, DIM, dtype=dtype, queries=1, seed=4, clusters=5, intrinsic_dim=4)
    quantised = dtype.itemsize > 1
    shape = small_shape(
        DIM, rep_bytes=3, rep_capacity=5, quantised=quantised, exact_page_bytes=4096 * quantised,
        exact_capacity=3 * quantised,
    )  # fmt: skip
    segment = build_small(tmp_path / "segment", vectors, metric, shape).load(code_bytes=4)
    workspace = workspace_for(segment)
    workspace.work.call[state.CALL_INTEGRAL] = int(dtype.kind in "iu")
    load_query(segment.resident, workspace.work, SLOT, queries[0].astype(np.float32))
    yield Loaded(vectors, queries[0], metric, segment, workspace)
    workspace.close()
    segment.close()


def test_exact_distances_fit_among_the_scores(loaded: Loaded) -> None:
    work = loaded.workspace.work
    factor, term = work.query_scalars[SLOT, [state.Q_NAV_FACTOR, state.Q_NAV_TERM]]
    exact = np.array([distance(vector, loaded.query, loaded.metric) for vector in loaded.vectors])
    points = navigation_vectors(loaded.vectors, loaded.metric)
    query = navigation_query(loaded.query, loaded.vectors.dtype, loaded.metric)
    expected = score(query, points, loaded.metric)
    assert exact * factor + term == pytest.approx(
        expected, rel=1e-9, abs=1e-9 * float(np.abs(expected).max())
    )
    assert work.nav[SLOT] == pytest.approx(query, rel=1e-6)
    assert (work.query[SLOT] == loaded.query.astype(np.float64)).all()
    whole = loaded.query.dtype.kind in "iu"
    assert (work.query_integer[SLOT] == (loaded.query if whole else 0)).all()
    norm = float(np.linalg.norm(loaded.query.astype(np.float64)))
    assert work.query_scalars[SLOT, state.Q_INVERSE_NORM] == pytest.approx(1 / norm, rel=1e-12)


@pytest.mark.parametrize(
    ("prefix", "which"), [("router", state.T_ROUTER), ("code", state.T_CODE), ("rep", state.T_REP)]
)
def test_tables_score_codewords(loaded: Loaded, prefix: str, which: int) -> None:
    resident, work = loaded.segment.resident, loaded.workspace.work
    book = stored_codebook(resident, prefix)
    query = navigation_query(loaded.query, loaded.vectors.dtype, loaded.metric)
    rotated = (stored_rotation(resident, prefix, DIM) @ query).astype(np.float32)
    inner = which != state.T_ROUTER or loaded.metric is Metric.IP
    terms = book.terms(rotated, inner)
    base, step = work.table_scalars[SLOT, which]
    entries = work.tables[SLOT, which].reshape(-1, 2, 2, WORDS)[:, :, 0].reshape(-1, WORDS)
    least = terms.min(axis=1, keepdims=True)
    # each codeword's term comes from sums of the size of |query| |codeword|, in single precision
    rounding = 1e-5 * float(np.abs(terms).max()) + 1e-6 * float(rotated @ rotated)
    assert float(base) == pytest.approx(float(least.sum()), abs=len(terms) * rounding)
    assert np.abs(entries[: len(terms)] * step - (terms - least)).max() <= step / 2 + 2 * rounding
    assert not entries[len(terms) :].any()


def test_quantised_vectors_score_as_what_they_stand_for(loaded: Loaded) -> None:
    resident, work = loaded.segment.resident, loaded.workspace.work
    if not resident.parameters[state.P_QUANTISED]:
        assert work.quantised.size == 0
        return
    low, step = resident.quantised_low, resident.quantised_step
    codes = np.random.default_rng(3).integers(0, 256, (30, DIM)).astype(np.uint8)
    points = low.astype(np.float64) + step.astype(np.float64) * codes
    query = navigation_query(loaded.query, loaded.vectors.dtype, loaded.metric)
    expected = score(query, points, loaded.metric)
    found = [
        float(
            scalar_quantised_value(
                row.ctypes.data,
                DIM,
                int(loaded.metric),
                work.quantised[SLOT, :DIM],
                work.quantised[SLOT, DIM:],
            )
        )
        for row in codes
    ]
    term = work.query_scalars[SLOT, state.Q_QUANTISED_TERM]
    assert term + np.array(found) == pytest.approx(
        expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max())
    )


def test_a_second_query_leaves_nothing_of_the_first(loaded: Loaded) -> None:
    resident, work = loaded.segment.resident, loaded.workspace.work
    first = {
        name: getattr(work, name)[SLOT].copy() for name in ("nav", "tables", "table_scalars", "query_scalars")
    }
    load_query(resident, work, SLOT, (loaded.query.astype(np.float32) * 0.5 + 1))
    assert (work.tables[SLOT] != first["tables"]).any()
    load_query(resident, work, SLOT, loaded.query.astype(np.float32))
    for name, before in first.items():
        assert (getattr(work, name)[SLOT] == before).all(), name
