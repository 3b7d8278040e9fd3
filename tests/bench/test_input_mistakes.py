"""Inputs that do not fit each other are refused before anything is measured.

Guarded: a benchmark that runs for minutes and then fails, or that compares queries with the truth of
others.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pageann.bench.inputs import read_inputs
from pageann.bench.options import BenchOptions, Target
from pageann.errors import PageANNError


def test_limit_cuts_all_three(options: BenchOptions, tmp_path: Path) -> None:
    groups = tmp_path / "groups.npy"
    np.save(groups, np.repeat([7, 3, 9, 9], 10))
    inputs = read_inputs(replace(options, limit=25, groups=str(groups)), 200)
    assert (inputs.queries.shape, inputs.truth.shape) == ((25, 8), (25, 10))
    assert np.array_equal(inputs.groups, np.repeat([1, 0, 2], (10, 10, 5)))
    assert np.array_equal(inputs.queries, np.load(options.queries)[:25])


def test_an_index_of_few_rows_needs_few_true_neighbours(options: BenchOptions) -> None:
    assert read_inputs(replace(options, k=100), 12).truth.shape == (40, 12)


def test_without_groups_each_query_is_its_own(options: BenchOptions) -> None:
    assert np.array_equal(read_inputs(options, 200).groups, np.arange(40))


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (np.zeros((39, 10), np.int64), "39 rows for 40 queries"),
        (np.zeros((40, 9), np.int64), "9 neighbours a query, --k 10 needs 10"),
        (np.zeros((40, 10)), "float64"),
        (np.zeros(400, np.int64), "400"),
    ],
)
def test_truth_that_does_not_fit(options: BenchOptions, truth: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    np.save(options.truth, truth)
    with pytest.raises(PageANNError, match=words) as caught:
        read_inputs(options, 200)
    assert options.truth in str(caught.value)


def test_truth_that_is_no_array(options: BenchOptions) -> None:
    Path(options.truth).write_bytes(b"not an array")
    with pytest.raises(PageANNError, match=r"truth\.npy"):
        read_inputs(options, 200)


def test_pickled_truth_is_not_unpickled(options: BenchOptions) -> None:
    np.save(options.truth, np.array([[{"a": 1}]], object), allow_pickle=True)
    with pytest.raises(PageANNError, match=r"truth\.npy"):
        read_inputs(options, 200)


def test_missing_truth(options: BenchOptions) -> None:
    Path(options.truth).unlink()
    with pytest.raises(PageANNError, match=r"truth\.npy"):
        read_inputs(options, 200)


@pytest.mark.parametrize("shape", [(40, 1), (39,)])
def test_groups_that_do_not_fit(options: BenchOptions, tmp_path: Path, shape: tuple[int, ...]) -> None:
    groups = tmp_path / "groups.npy"
    np.save(groups, np.zeros(shape, np.int64))
    with pytest.raises(PageANNError, match=r"groups\.npy"):
        read_inputs(replace(options, groups=str(groups)), 200)


def test_targets(options: BenchOptions) -> None:
    assert options.targets == (Target(0.95, None),)
    assert replace(options, recalls=(0.9,)).targets == (Target(0.9, None),)
    assert replace(options, efforts=(20, 40)).targets == (Target(None, 20), Target(None, 40))
