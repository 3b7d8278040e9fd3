"""A vector that cannot be indexed is refused with its file and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets.source import open_vectors
from pageann.datasets.validate import MAX_NORM, check_vectors
from pageann.datasets.writers import write_vectors
from pageann.errors import InvalidData
from pageann.types import DTYPES, Metric


def ones(dtype: Any = np.float32) -> np.ndarray:
    return np.ones((50, 4), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("metric", Metric)
def test_good_vectors_pass(dtype: Any, metric: Metric) -> None:
    check_vectors(ones(dtype), metric, block_rows=7)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("value", "reason"), [(np.nan, "holds NaN"), (-np.inf, "holds an infinity")])
def test_not_finite(metric: Metric, dtype: Any, value: float, reason: str) -> None:
    array = ones(dtype)
    array[[41, 48], 2] = value
    with pytest.raises(InvalidData, match=f"vectors: row 41 {reason}"):
        check_vectors(array, metric, block_rows=10)


def test_float16_overflow_names_the_remedy() -> None:
    array = np.full((3, 2), 65_504, np.float16)
    check_vectors(array, Metric.L2)
    array[1, 0] = np.inf
    with pytest.raises(InvalidData, match=r"row 1 .*float16 ends at 65,504.* store the vectors as float32"):
        check_vectors(array, Metric.L2)


def test_norms_whose_distances_overflow() -> None:
    array = ones()
    array[3] = [0.99 * MAX_NORM, 0, 0, 0]
    check_vectors(array, Metric.L2)
    array[7] = [MAX_NORM, MAX_NORM, 0, 0]
    with pytest.raises(InvalidData, match=r"row 7 has a norm above 9e\+18.*scale"):
        check_vectors(array, Metric.L2)
    longest = np.float32(MAX_NORM)
    assert np.isfinite((longest + longest) ** 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zero_vectors_are_refused_under_cosine_alone(dtype: Any) -> None:
    array = ones(dtype)
    array[[23, 30]] = 0
    check_vectors(array, Metric.L2)
    check_vectors(array, Metric.IP)
    with pytest.raises(InvalidData, match=r"row 23 is .*zero.*, which has no direction"):
        check_vectors(array, Metric.COSINE, block_rows=8)


def test_vectors_too_short_for_a_float32_norm_are_zero_under_cosine() -> None:
    array = ones()
    array[5] = 1e-25
    check_vectors(array, Metric.L2)
    with pytest.raises(InvalidData, match="row 5 is zero or nearly"):
        check_vectors(array, Metric.COSINE)


def test_the_file_is_named(tmp_path: Path) -> None:
    array = ones()
    array[9, 0] = np.nan
    write_vectors(tmp_path / "a.fbin", array)
    with pytest.raises(InvalidData, match=r"a\.fbin: row 9 holds NaN"):
        check_vectors(open_vectors(tmp_path / "a.fbin"), Metric.L2)
    with pytest.raises(InvalidData, match="my vectors: row 9"):
        check_vectors(array, Metric.L2, name="my vectors")
