"""Every distance that comes back is the true one, of the right row, in the right order.

Approximate search may miss a row; it must never state a wrong distance, repeat a row, or order two
wrongly, whatever the type, the metric and the layout. Where everything is looked at, nothing is missed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from tests.library.brute import recall, require_contract, require_exact
from tests.library.samples import DTYPES, LAYOUTS, METRICS, Kind, Sample, Samples

LEAST_RECALL = 0.9


def answers(index: pageann.Index, queries: NDArray[Any], k: int, **options: Any) -> pageann.SearchResult:
    """A k-nearest search."""
    found = index.search(queries, k, **options)
    assert isinstance(found, pageann.SearchResult)
    return found


def require_all_ways_agree(sample: Sample, queries: NDArray[Any], k: int) -> None:
    """Exact search, and search with an effort of all rows, equal brute force; the default is near."""
    base, metric = sample.base, sample.kind.metric
    with sample.open("400%" if sample.base.nbytes > 16 << 20 else "64MiB") as index:
        exact = answers(index, queries, k, exact=True)
        full = answers(index, queries, k, effort=len(base))
        usual = answers(index, queries, k)
    require_exact(exact, base, queries, metric, k)
    require_exact(full, base, queries, metric, k)
    require_contract(usual, base, queries, metric, k)
    np.testing.assert_array_equal(full.distances, exact.distances)
    np.testing.assert_array_equal(full.ids, exact.ids)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_metric(samples: Samples, dtype: str, metric: str) -> None:
    sample = samples(Kind(dtype=dtype, metric=metric))
    require_all_ways_agree(sample, sample.queries, 10)
    with sample.open() as index:
        usual = answers(index, sample.queries, 10)
    assert recall(usual, sample.base, sample.queries, metric) >= LEAST_RECALL


@pytest.mark.parametrize("k", [1, 10, 100])
def test_every_layout(layout: Sample, k: int) -> None:
    require_all_ways_agree(layout, layout.queries, k)
    with layout.open("16MiB") as index:
        usual = answers(index, layout.queries, k)
    assert recall(usual, layout.base, layout.queries, layout.kind.metric) >= LEAST_RECALL


def test_layouts_are_what_they_are_called(samples: Samples) -> None:
    """A sample that lost its layout would leave that way to search untested, and all tests green."""
    facts = {}
    for name, kind in LAYOUTS.items():
        with samples(kind).open() as index:
            facts[name] = index.describe()
    held = {name: each["resident"]["code_bytes"] for name, each in facts.items()}
    told = {name: each["layout"]["rep_capacity"] for name, each in facts.items()}
    assert held["codes"] > 0 == told["codes"]
    assert held["walk"] == 0 < told["walk"]
    assert facts["two-tier"]["layout"]["quantised"]


@pytest.mark.parametrize("metric", METRICS)
def test_pages_with_representatives(samples: Samples, metric: str) -> None:
    sample = samples(Kind(rows=20_000, memory="100KiB", metric=metric, dtype="uint8"))
    with sample.open() as index:
        assert index.describe()["layout"]["rep_capacity"] > 0
        usual = answers(index, sample.queries, 10)
        exact = answers(index, sample.queries, 10, exact=True)
    require_contract(usual, sample.base, sample.queries, metric, 10)
    require_exact(exact, sample.base, sample.queries, metric, 10)
    assert recall(usual, sample.base, sample.queries, metric) >= LEAST_RECALL


@pytest.mark.parametrize("metric", METRICS)
def test_quantised_pages(samples: Samples, metric: str) -> None:
    sample = samples(Kind(rows=300, dim=768, memory="100%", metric=metric))
    require_all_ways_agree(sample, sample.queries, 10)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("metric", METRICS)
def test_fractional_queries_on_integers(samples: Samples, dtype: str, metric: str) -> None:
    sample = samples(Kind(dtype=dtype, metric=metric))
    queries = sample.queries.astype(np.float32) + np.float32(0.37)
    require_all_ways_agree(sample, queries, 10)


def test_more_neighbours_than_rows(samples: Samples) -> None:
    sample = samples(Kind())
    require_all_ways_agree(sample, sample.queries[:3], len(sample.base) + 5)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("metric", METRICS)
def test_a_handful_of_rows(samples: Samples, rows: int, metric: str) -> None:
    sample = samples(Kind(rows=rows, dim=8, metric=metric))
    for k in (1, rows, 10):
        require_all_ways_agree(sample, sample.queries, k)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_few_dimensions(samples: Samples, dim: int, dtype: str) -> None:
    sample = samples(Kind(dim=dim, dtype=dtype))
    require_all_ways_agree(sample, sample.queries, 10)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_1536_dimensions(samples: Samples, dtype: str) -> None:
    sample = samples(Kind(rows=120, dim=1536, dtype=dtype, memory="8MiB"))
    require_all_ways_agree(sample, sample.queries, 10)


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("float16", "int8"))]
)
def test_8192_dimensions(samples: Samples, dtype: str) -> None:
    sample = samples(Kind(rows=12, dim=8192, dtype=dtype, memory="16MiB"))
    require_all_ways_agree(sample, sample.queries[:10], 10)


def test_one_query_is_answered_as_one_of_many(layout: Sample) -> None:
    with layout.open() as index:
        many = answers(index, layout.queries, 10, effort=40)
        for number in (0, 7):
            for query in (layout.queries[number], layout.queries[number : number + 1]):
                one = answers(index, query, 10, effort=40)
                np.testing.assert_array_equal(one.ids, many.ids[number : number + 1])
                np.testing.assert_array_equal(one.distances, many.distances[number : number + 1])
