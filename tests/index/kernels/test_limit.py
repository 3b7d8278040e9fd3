"""The stop rule decides reads and recall of every search of resident codes; a wrong sign in it is silent."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.index.kernels.state import ESTIMATED, EXACT
from pageann.index.kernels.step import _limit

SCORES = np.array([10, 20, 30, 40, 50, 60, 70, 80], np.float32)
ERROR, DIM = 4.0, 16
HOPE = 2.6


def limit(
    states: NDArray[np.uint8],
    enough: int = 3,
    effort: int = 30,
    *,
    first: bool = False,
    strictness: float = 0.5,
    square: float = 0.0,
) -> float:
    found = _limit(
        SCORES, states, len(SCORES), enough, effort, first, np.float32(strictness), np.float32(ERROR),
        square, DIM,
    )  # fmt: skip
    return float(found)


def typical(near: float) -> float:
    return float(2 * np.sqrt(near * ERROR / DIM))


def states(*exact: int) -> NDArray[np.uint8]:
    found = np.full(len(SCORES), ESTIMATED, np.uint8)
    found[list(exact)] = EXACT
    return found


@pytest.mark.parametrize("strictness", [-1.0, 0.0, 0.5, 2.0])
def test_the_kth_exact_distance_less_a_margin_of_typical_errors(strictness: float) -> None:
    """Estimates between the exact ones do not count; the error is that at the k-th best score."""
    found = limit(states(0, 1, 3, 6), 3, strictness=strictness)
    assert found == pytest.approx(40 - strictness * typical(30), rel=1e-5)


def test_a_greater_distance_makes_errors_greater() -> None:
    margin = 40 - limit(states(0, 1, 3), 3, strictness=1.0)
    assert margin == pytest.approx(typical(30), rel=1e-5)
    assert 30 - limit(states(0, 2), 2, strictness=1.0) == pytest.approx(typical(20), rel=1e-5)


def test_under_ip_the_error_is_that_of_the_querys_length() -> None:
    assert 60 - limit(states(0, 3, 5), 3, strictness=1.0, square=400.0) == pytest.approx(
        typical(400), rel=1e-5
    )


def test_what_merely_lies_on_the_pages_read_is_no_measure() -> None:
    """Exact distances far beyond the k-th best of all that is known or estimated set no limit."""
    expected = 30 + (HOPE - 0.5) * typical(30)
    assert limit(states(0, 6, 7), 3) == pytest.approx(expected, rel=1e-5)
    assert limit(states(0, 1), 3) == pytest.approx(expected, rel=1e-5), "too few are no better"


def test_before_anything_is_known_the_kth_estimate_stands_for_it() -> None:
    assert limit(states(), 3, first=True) == pytest.approx(30 + (HOPE - 0.5) * typical(30), rel=1e-5)


@pytest.mark.parametrize(("effort", "least"), [(1, 10), (2, 20), (3, 30), (30, 30)])
def test_as_many_of_the_best_as_the_effort_says_are_looked_at(effort: int, least: float) -> None:
    assert limit(states(), 3, effort, first=True, strictness=50.0) == least


def test_a_pool_of_fewer_than_k_sets_no_limit() -> None:
    found = _limit(
        SCORES, states(0, 1), 2, 3, 30, False, np.float32(0.5), np.float32(ERROR), 0.0, DIM
    )  # fmt: skip
    assert found == np.inf
