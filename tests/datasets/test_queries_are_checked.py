"""Queries become float32; what cannot be asked is refused with its row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pageann.datasets.validate import check_queries
from pageann.errors import InvalidArgument
from pageann.types import Metric


@pytest.mark.parametrize(
    "queries",
    [
        [[1, 2, 3], [4, 5, 6]],
        np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        np.array([[1, 2, 3], [4, 5, 6]], np.float64),
        np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], np.float16)),
    ],
)
def test_numbers_become_contiguous_float32(queries: Any) -> None:
    found, is_integral = check_queries(queries, 3, np.uint8)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert is_integral


def test_one_query_and_none() -> None:
    assert check_queries([1.0, 2.0], 2, np.float32)[0].shape == (1, 2)
    assert check_queries(np.empty((0, 2)), 2, np.float32)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "dtype", "is_integral"),
    [
        (255, np.uint8, True),
        (256, np.uint8, False),
        (-1, np.uint8, False),
        (-128, np.int8, True),
        (128, np.int8, False),
        (0.5, np.uint8, False),
        (1, np.float32, False),
        (1, np.float16, False),
    ],
)
def test_integral_means_a_value_of_the_index(value: float, dtype: Any, is_integral: bool) -> None:
    assert check_queries([[1, value]], 2, dtype)[1] is is_integral


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\); this index takes \(q, 2\)"),
        ([1, 2, 3], r"shape \(1, 3\)"),
        (np.ones((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (3.0, r"shape \(\)"),
        ([[1, 2], [3]], "cannot be read"),
        ([["a", "b"]], "not numbers"),
        ([[None, 1]], "not numbers"),
        ([[True, False]], "not numbers"),
        ([[1j, 2]], "not numbers"),
        ([[0, 0], [np.nan, 0]], "row 1 holds NaN"),
        ([[0, 0], [0, np.inf]], "row 1 holds an infinity"),
        ([[0, 0], [0, 1e300]], "row 1 holds an infinity"),
        ([[0, 0], [0, 1e19]], "row 1 has a norm above"),
        ([[0, 0], [2**24 + 1, 0]], r"row 1 holds an integer beyond 2\^24"),
        (np.array([[0, -(2**40)]]), r"row 0 holds an integer beyond 2\^24"),
    ],
)
def test_refused(bad: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"queries: .*{message}"):
        check_queries(bad, 2, np.float32)


def test_a_zero_query_has_no_direction() -> None:
    queries = [[1.0, 0.0], [0.0, 0.0]]
    check_queries(queries, 2, np.float32, Metric.IP)
    with pytest.raises(InvalidArgument, match="queries: row 1 is zero"):
        check_queries(queries, 2, np.uint8, Metric.COSINE)
