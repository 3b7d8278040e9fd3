"""Chance in a log is not worth an order of pages; what comes again and again is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.index.search.page_heat import hottest_first

PAGES, QUERIES = 2000, 3000


def log(weights: NDArray[np.float64], seed: int) -> list[NDArray[np.int64]]:
    """Queries of 5 pages each, drawn by weight."""
    generator = np.random.default_rng(seed)
    share = weights / weights.sum()
    return [generator.choice(PAGES, 5, p=share).astype(np.int64) for _ in range(QUERIES)]


def hit(order: NDArray[np.int32], weights: NDArray[np.float64]) -> float:
    """Share of visits to come that fall on the first tenth of ``order``."""
    return float(weights[order[: PAGES // 10]].sum() / weights.sum())


@pytest.mark.parametrize("seed", range(3))
def test_chance_keeps_a_good_order(seed: int) -> None:
    weights = np.linspace(3.0, 0.3, PAGES)
    order = np.arange(PAGES, dtype=np.int32)
    found = hottest_first(order, log(weights, seed))
    counted = np.argsort(-np.bincount(np.concatenate(log(weights, seed)), minlength=PAGES), kind="stable")
    assert sorted(found.tolist()) == order.tolist()
    assert hit(found, weights) >= 0.95 * hit(order, weights)
    assert hit(found, weights) >= hit(counted.astype(np.int32), weights)


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_again_comes_first(seed: int) -> None:
    weights = np.full(PAGES, 0.1)
    weights[np.random.default_rng(seed).choice(PAGES, PAGES // 10, replace=False)] = 10.0
    order = np.arange(PAGES, dtype=np.int32)
    best = float(np.sort(weights)[::-1][: PAGES // 10].sum() / weights.sum())
    assert hit(hottest_first(order, log(weights, seed)), weights) >= 0.98 * best


def test_pages_without_visits_keep_their_order() -> None:
    order = np.random.default_rng(1).permutation(PAGES).astype(np.int32)
    np.testing.assert_array_equal(hottest_first(order, [np.empty(0, np.int64)]), order)


@pytest.mark.parametrize("pages", [1, 3, 49, 51])
def test_few_pages(pages: int) -> None:
    order = np.arange(pages, dtype=np.int32)
    found = hottest_first(order, [np.array([pages - 1])] * 90)
    assert sorted(found.tolist()) == order.tolist()
    assert found.dtype == np.int32
