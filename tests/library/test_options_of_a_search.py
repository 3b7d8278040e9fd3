"""What cannot be served is refused in one line that names the option; what is odd but clear is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pageann
from tests.library.samples import Kind, Samples


@pytest.fixture(scope="module")
def index(samples: Samples) -> Iterator[pageann.Index]:
    """An open index of 900 x 24 float32."""
    with samples(Kind()).open() as opened:
        yield opened


QUERY = np.ones(24, np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"recall": 0.9, "effort": 10},
        {"recall": 0.9, "exact": True},
        {"effort": 10, "exact": True},
        {"recall": 0.9, "effort": 10, "exact": True},
    ],
)
def test_recall_effort_and_exact_exclude_each_other(index: pageann.Index, options: dict[str, Any]) -> None:
    with pytest.raises(pageann.InvalidArgument, match="exclude each other"):
        index.search(QUERY, **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("k", value) for value in (0, -1, 1.5, "10", None, True, 100_001)),
        *(("recall", value) for value in (0, -0.1, 1.01, float("nan"), "0.9", True)),
        *(("effort", value) for value in (0, -5, 1.5, "40", True)),
        *(("deadline", value) for value in (0, -1, float("nan"), "soon", True)),
        *(("max_page_reads", value) for value in (0, -1, 2.5, "7", True)),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(
    index: pageann.Index, option: str, value: Any
) -> None:
    with pytest.raises(pageann.InvalidArgument, match=option) as caught:
        index.search(QUERY, **{option: value})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "queries",
    [
        np.full(24, np.nan, np.float32),
        np.array([QUERY, np.full(24, np.inf)]),
        np.ones(23),
        np.ones((2, 25)),
        np.ones((2, 2, 24)),
        np.float32(1),
        np.array(["a"] * 24),
        np.ones(24, complex),
        [[1.0] * 24, [1.0] * 23],
        None,
        "photo",
        np.full(24, 1e30),
    ],
    ids=str,
)
def test_wrong_queries_are_refused(index: pageann.Index, queries: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="queries"):
        index.search(queries)


def test_a_zero_query_has_no_direction(samples: Samples) -> None:
    with (
        samples(Kind(metric="cosine")).open() as opened,
        pytest.raises(pageann.InvalidArgument, match="row 1"),
    ):
        opened.search(np.stack([QUERY, 0 * QUERY]))


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"effort": 20}])
def test_no_query_has_no_answer(index: pageann.Index, options: dict[str, Any]) -> None:
    found = index.search(np.empty((0, 24), np.float32), 5, **options)
    assert found.ids.shape == found.distances.shape == (0, 5)
    assert found.counts.shape == found.complete.shape == (0,)
    assert len(found.stats) == 0
    assert "0 queries" in repr(found)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int32", "uint8", "bool"])
def test_queries_of_any_real_type(index: pageann.Index, dtype: str) -> None:
    given = np.ones(24, dtype)
    if dtype == "bool":
        with pytest.raises(pageann.InvalidArgument, match="bool"):
            index.search(given)
        return
    np.testing.assert_array_equal(index.search(given).ids, index.search(QUERY).ids)


def test_queries_need_not_be_contiguous(index: pageann.Index, samples: Samples) -> None:
    queries = samples(Kind()).queries
    plain = index.search(queries, 5, effort=50)
    for other in (np.asfortranarray(queries), np.repeat(queries, 2, axis=0)[::2], queries.tolist()):
        np.testing.assert_array_equal(index.search(other, 5, effort=50).ids, plain.ids)


def test_numbers_of_numpy_are_numbers(index: pageann.Index) -> None:
    k: Any = np.int32(3)
    quality: list[dict[str, Any]] = [{"recall": np.float32(0.5)}, {"effort": np.int64(9)}]
    limits: dict[str, Any] = {"deadline": np.float64(10), "max_page_reads": np.int64(5)}
    for options in quality:
        assert index.search(QUERY, k, **options, **limits).ids.shape == (1, 3)


def test_statistics_can_be_left_out(index: pageann.Index) -> None:
    assert index.search(QUERY, stats=False).stats is None
    assert index.search(QUERY, exact=True, stats=False).stats is None
    assert index.search(QUERY, radius=1.0, stats=False).stats is None


def test_an_unknown_driver_is_refused(samples: Samples) -> None:
    with pytest.raises(pageann.InvalidArgument, match="carrier pigeon"):
        samples(Kind()).open(io="carrier pigeon")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True])
def test_threads_are_a_number(samples: Samples, threads: Any) -> None:
    with pytest.raises(pageann.InvalidArgument, match="threads="):
        samples(Kind()).open(threads=threads)
