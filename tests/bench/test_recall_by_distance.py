"""Recall is judged by distances that the benchmark takes from the index itself.

Guarded: a truth file that was made for other vectors and is believed all the same; a recall that
punishes ties; an interval that pretends that queries from one source are independent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pageann.bench.inputs import read_inputs
from pageann.bench.options import BenchOptions
from pageann.bench.recall import bootstrap_interval, true_distances
from pageann.errors import InvalidArgument
from tests.reference.exact_index import ExactIndex


def test_true_distances_come_from_the_vectors(index: ExactIndex, options: BenchOptions) -> None:
    inputs = read_inputs(options, index.rows)
    found = true_distances(index, inputs, options.truth)  # type: ignore[arg-type]
    expected = index.search(inputs.queries, options.k).distances
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_they_ascend_even_where_the_file_does_not(index: ExactIndex, options: BenchOptions) -> None:
    np.save(options.truth, np.load(options.truth)[:, ::-1])
    inputs = read_inputs(replace(options, k=12), index.rows)
    found = true_distances(index, inputs, options.truth)  # type: ignore[arg-type]
    assert (np.diff(found, axis=1) >= 0).all()


def test_ids_of_another_index_are_refused(index: ExactIndex, options: BenchOptions) -> None:
    np.save(options.truth, np.load(options.truth) + 1000)
    inputs = read_inputs(options, index.rows)
    with pytest.raises(InvalidArgument, match=r"truth\.npy.*ids of this index"):
        true_distances(index, inputs, options.truth)  # type: ignore[arg-type]


def test_queries_of_another_dimension_are_refused(index: ExactIndex, options: BenchOptions) -> None:
    np.save(options.queries, np.zeros((40, 9), np.float32))
    inputs = read_inputs(options, index.rows)
    with pytest.raises(InvalidArgument, match=r"9 dimensions.*has 8"):
        true_distances(index, inputs, options.truth)  # type: ignore[arg-type]


def test_interval_holds_the_mean_and_shrinks_with_queries() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for count in (100, 10_000):
        recalls = generator.integers(0, 11, count) / 10
        low, high = bootstrap_interval(recalls, np.arange(count), seed=0)
        assert low < recalls.mean() < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.3)


def test_groups_widen_the_interval_as_much_as_they_must() -> None:
    recalls = np.repeat(np.random.default_rng(0).integers(0, 11, 50) / 10, 100)
    single = bootstrap_interval(recalls, np.arange(5000), seed=0)
    grouped = bootstrap_interval(recalls, np.repeat(np.arange(50), 100), seed=0)
    assert (grouped[1] - grouped[0]) == pytest.approx(10 * (single[1] - single[0]), rel=0.3)


def test_same_seed_same_interval() -> None:
    recalls = np.random.default_rng(0).random(200)
    groups = np.arange(200)
    assert bootstrap_interval(recalls, groups, 1) == bootstrap_interval(recalls, groups, 1)
    assert bootstrap_interval(recalls, groups, 1) != bootstrap_interval(recalls, groups, 2)
