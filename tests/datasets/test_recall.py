"""Recall counts by distance: ties are no misses, padding is no hit."""

from __future__ import annotations

import numpy as np
import pytest

from pageann.datasets.truth import recall_at_k
from pageann.errors import InvalidArgument

INF = np.inf


@pytest.mark.parametrize(
    ("found", "true", "k", "recall"),
    [
        pytest.param([1, 2, 3, 4], [1, 2, 3, 4], 4, 1.0, id="all"),
        pytest.param([1, 2, 5, 6], [1, 2, 3, 4], 4, 0.5, id="half"),
        pytest.param([2, 2, 2], [1, 2, 2], 3, 1.0, id="ties of the last are no misses"),
        pytest.param([1, 2, 9], [1, 2, 3], 2, 1.0, id="only the first k count"),
        pytest.param([1, INF, INF], [1, 2, 3], 3, 1 / 3, id="padding is no hit"),
        pytest.param([1, 2, INF, INF], [1, 2, INF, INF], 4, 1.0, id="fewer rows than k"),
        pytest.param([INF, INF], [1, INF], 2, 0.0, id="nothing found"),
        pytest.param([INF, INF], [INF, INF], 2, 1.0, id="nothing to find"),
        pytest.param([0, 0], [0, 0], 2, 1.0, id="distance zero"),
        pytest.param([-3, -2.9], [-3, -3], 2, 0.5, id="negative distances"),
        pytest.param([-3, -3 + 2e-6], [-3, -3], 2, 1.0, id="negative within the slack"),
        pytest.param([1.0000009], [1], 1, 1.0, id="within the slack"),
        pytest.param([1.0000011], [1], 1, 0.0, id="beyond the slack"),
    ],
)
def test_one_query(found: list[float], true: list[float], k: int, recall: float) -> None:
    assert recall_at_k(np.array([found], float), np.array([true], float), k).tolist() == [recall]


def test_one_value_for_each_query() -> None:
    found = np.array([[1, 2], [1, 9], [8, 9]], np.float32)
    assert recall_at_k(found, np.array([[1.0, 2.0]] * 3), 2).tolist() == [1.0, 0.5, 0.0]


def test_without_slack() -> None:
    assert recall_at_k(np.array([[1.0000009]]), np.array([[1.0]]), 1, relative_slack=0).tolist() == [0.0]


@pytest.mark.parametrize(
    ("found", "k", "message"),
    [
        (np.ones((1, 2)), 0, "k=0"),
        (np.ones((1, 3)), 3, "the truth holds only 2 neighbours"),
        (np.ones((2, 2)), 2, "2 results for the truth of 1"),
    ],
)
def test_refused(found: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        recall_at_k(found, np.ones((1, 2)), k)
