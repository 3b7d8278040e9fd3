"""Ranking by bins must give what a stable sort gives, whatever the distribution of the keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels.ranking import BINS, rank_smallest

KEYS = st.lists(
    st.one_of(
        st.floats(-1e6, 1e6, width=32),
        st.sampled_from([0.0, -0.0, 1.0, float("inf"), 3e38, -3e38]),
    ),
    min_size=1,
    max_size=400,
)


def ranked(keys: NDArray[np.float32], kept: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    found, places = np.full(kept + 1, 77, np.float32), np.full(kept + 1, -7, np.int32)
    rank_smallest(keys, len(keys), kept, np.empty(BINS, np.int32), found, places)
    assert found[kept] == 77
    assert places[kept] == -7
    return found[:kept], places[:kept]


def expect_sorted(keys: NDArray[np.float32], kept: int) -> None:
    found, places = ranked(keys, kept)
    order = np.argsort(keys, kind="stable")[:kept]
    assert found.tolist() == keys[order].tolist()
    assert places.tolist() == order.tolist()


@settings(max_examples=200, deadline=None)
@given(KEYS, st.floats(0, 1))
def test_any_keys(keys: list[float], share: float) -> None:
    expect_sorted(np.array(keys, np.float32), round(share * len(keys)))


@pytest.mark.parametrize("kept", [1, 2, 240, 2999, 3000])
@pytest.mark.parametrize(
    "kind", ["spread", "few values", "one value", "one far", "all infinite", "some infinite", "tight and far"]
)
def test_awkward_distributions(kind: str, kept: int) -> None:
    random = np.random.default_rng(kept)
    keys = random.normal(1e5, 3e4, 3000).astype(np.float32)
    if kind == "few values":
        keys = random.integers(0, 4, 3000).astype(np.float32)
    elif kind == "one value":
        keys[:] = 5
    elif kind == "one far":
        keys[1234] = 1e30
    elif kind == "all infinite":
        keys[:] = np.inf
    elif kind == "some infinite":
        keys[::3] = np.inf
    elif kind == "tight and far":
        keys = np.concatenate([random.normal(0, 1e-3, 1500), random.normal(1e9, 1, 1500)]).astype(np.float32)
    expect_sorted(keys, kept)
