"""Results of every shape, for hypothesis and for tests by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.results import QueryStats, RangeResult, SearchResult, StopReason

__all__ = ["assert_same", "range_results", "search_results", "stats_of"]

KINDS = ("int64", "str")


def stats_of(queries: int, seed: int, *, exact: bool = False) -> QueryStats:
    """Statistics as the library gives them: whole reads, but for an exact search."""
    random = np.random.default_rng(seed)
    whole = lambda: random.integers(0, 2**31, queries)  # noqa: E731
    reads = whole()
    share = lambda: random.standard_gamma(1, queries) * 100  # noqa: E731
    return QueryStats(
        reads=share() if exact else reads,
        kib=share(),
        units=share(),
        hops=whole(),
        codes_scored=random.integers(0, 2**40, queries),
        pinned_hits=whole(),
        shared_reads=np.zeros(queries, np.int64) if exact else random.integers(0, reads + 1),
        route_us=share(),
        scan_us=share(),
        read_us=share(),
        total_us=share(),
        effort=np.zeros(queries, np.int64) if exact else random.integers(1, 1000, queries),
        stopped=random.integers(0, max(StopReason) + 1, queries),
        warnings=("a warning", "ünd another")[: seed % 3],
    )


def _ids(kind: str, count: int, random: np.random.Generator) -> NDArray[Any]:
    numbers = random.integers(-(2**63), 2**63 - 1, count, endpoint=True)
    return np.array([f"é-{number}" for number in numbers], object) if kind == "str" else numbers


@st.composite
def search_results(draw: st.DrawFn) -> SearchResult:
    """Padded results of 0 to 5 queries."""
    queries, k, seed = draw(st.integers(0, 5)), draw(st.integers(1, 12)), draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    counts = np.array(draw(st.lists(st.integers(0, k), min_size=queries, max_size=queries)), np.int32)
    if draw(st.booleans()):
        counts[:] = k
    kind = draw(st.sampled_from(KINDS))
    real = np.arange(k) < counts[:, None]
    ids = np.full((queries, k), None if kind == "str" else -1, object if kind == "str" else np.int64)
    ids[real] = _ids(kind, int(real.sum()), random)
    distances = np.full((queries, k), np.inf, np.float32)
    distances[real] = random.standard_normal(int(real.sum()))
    return SearchResult(ids, np.sort(distances), counts, _stats(draw, queries), random.random(queries) < 0.7)


@st.composite
def range_results(draw: st.DrawFn) -> RangeResult:
    """Flat results of 0 to 5 queries."""
    counts, seed = draw(st.lists(st.integers(0, 9), max_size=5)), draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    lims = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found = int(lims[-1])
    ids = _ids(draw(st.sampled_from(KINDS)), found, random)
    distances = random.standard_normal(found).astype(np.float32)
    return RangeResult(lims, ids, distances, _stats(draw, len(counts)), random.random(len(counts)) < 0.7)


def _stats(draw: st.DrawFn, queries: int) -> QueryStats | None:
    if draw(st.booleans()):
        return None
    return stats_of(queries, draw(st.integers(0, 2**31)), exact=draw(st.booleans()) and queries > 0)


def assert_same(found: Any, expected: Any) -> None:
    """Every array equal in shape, type and content; every other attribute equal."""
    assert type(found) is type(expected)
    for name in type(expected).__dataclass_fields__:
        one, other = getattr(found, name), getattr(expected, name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        elif isinstance(other, QueryStats):
            assert_same(one, other)
        else:
            assert one == other, name
