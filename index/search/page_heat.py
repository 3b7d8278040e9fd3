"""From the visits of a log to the order in which pages are worth pinning.

A log counts few visits of each page, and those few are mostly chance. So a page is ranked by the
visits to expect of it, between its own count and what is usual for pages of its place in the order so
far: a gamma prior for each part of that order, whose mean and spread are those of the counts there
(empirical Bayes). Where counts vary no more than chance makes them, the order stays; where queries
come again and again, counts decide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["hottest_first"]

Order = npt.NDArray[np.int32]

_PARTS = 50
_LEAST = 1e-9


def _expected(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The visits to expect of pages that were visited ``counts`` times, and are alike otherwise."""
    mean = max(float(counts.mean()), _LEAST)
    shape = mean * mean / max(float(counts.var()) - mean, _LEAST)
    return np.asarray(mean * (shape + counts) / (shape + mean))


def hottest_first(order: Order, visits: list[npt.NDArray[np.int64]]) -> Order:
    """Pages by falling visits to expect, after the ``visits`` (pages of each query) of a log.

    ``order`` int32 (pages,) is the one so far; it is kept among pages of which the same is expected.
    """
    counts = np.bincount(np.concatenate(visits), minlength=len(order)).astype(np.float64)[order]
    expected = np.concatenate([_expected(part) for part in np.array_split(counts, min(_PARTS, len(order)))])
    return np.ascontiguousarray(order[np.argsort(-expected, kind="stable")])
