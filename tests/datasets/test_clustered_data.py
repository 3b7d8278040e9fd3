"""Generated data: the same bytes for a seed on any number of threads, and the shape that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import threadpoolctl

from pageann.datasets import synthetic
from pageann.datasets.synthetic import ClusterShape, clustered, clustered_blocks
from pageann.datasets.truth import exact_neighbours
from pageann.errors import InvalidArgument
from pageann.types import DTYPES, Metric


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_type_and_shape(dtype: Any) -> None:
    base, queries = clustered(300, 17, dtype=dtype, queries=5)
    assert (base.shape, queries.shape) == ((300, 17), (5, 17))
    assert base.dtype == queries.dtype == dtype
    assert np.isfinite(base).all()


def test_the_same_bytes_on_any_number_of_threads() -> None:
    results = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads):
            results.append(clustered(20_000, 48, queries=10, seed=3))
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1].tobytes() == results[1][1].tobytes()


def test_seeds_differ() -> None:
    assert not np.array_equal(clustered(50, 8, seed=0)[0], clustered(50, 8, seed=1)[0])


def test_the_first_rows_do_not_depend_on_how_many_follow() -> None:
    long = clustered(synthetic.BLOCK_ROWS + 500, 8, queries=0)[0]
    np.testing.assert_array_equal(clustered(700, 8, queries=0)[0], long[:700])
    assert len(np.unique(long, axis=0)) == len(long)


def test_blocks_are_the_base() -> None:
    rows = 2 * synthetic.BLOCK_ROWS + 1
    shape = ClusterShape(8, np.dtype(np.uint8), 256, 16, 0.8, 0, None)
    blocks = list(clustered_blocks(shape, rows))
    assert [len(block) for block in blocks] == [synthetic.BLOCK_ROWS] * 2 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), clustered(rows, 8, dtype=np.uint8)[0])


def test_queries_are_like_the_base_but_not_in_it() -> None:
    base, queries = clustered(4000, 32, queries=200, clusters=20)
    _, to_base = exact_neighbours(base, queries, 1, Metric.L2)
    rows = np.arange(200)
    _, within = exact_neighbours(base, base[rows], 1, Metric.L2, exclude=rows)
    assert to_base.min() > 0
    assert 0.8 < np.median(to_base) / np.median(within) < 1.25


def test_cluster_sizes_follow_zipf() -> None:
    shape = ClusterShape(4, np.dtype(np.float32), 3, 1, 1.0, 0, None)
    model = synthetic._Model.of(shape)
    np.testing.assert_allclose(np.diff(model.cumulative, prepend=0), np.array([6, 3, 2]) / 11)
    even = synthetic._Model.of(ClusterShape(4, np.dtype(np.float32), 4, 1, 0.0, 0, None))
    np.testing.assert_allclose(even.cumulative, [0.25, 0.5, 0.75, 1])


def test_one_cluster_varies_along_its_own_directions() -> None:
    base, _ = clustered(3000, 40, clusters=1, intrinsic_dim=5, queries=0)
    spectrum = np.linalg.svd(base - base.mean(axis=0), compute_uv=False) ** 2
    assert spectrum[:5].sum() / spectrum.sum() > 0.97
    assert spectrum[4] / spectrum[5] > 5


def test_clusters_overlap() -> None:
    """The nearest other centre lies within reach of a cluster's own spread."""
    shape = ClusterShape(64, np.dtype(np.float32), 100, 16, 0.8, 0, None)
    model = synthetic._Model.of(shape)
    rows = np.arange(100)
    _, apart = exact_neighbours(model.centres, model.centres, 1, Metric.L2, exclude=rows)
    spread = np.square(model.bases).sum(axis=(1, 2))
    assert np.median(np.sqrt(apart[:, 0])) < 2 * np.median(np.sqrt(spread))


@pytest.mark.parametrize(("dtype", "middle"), [("uint8", 128), ("int8", 0)])
def test_integers_use_their_range_without_clipping_much(dtype: str, middle: int) -> None:
    base, _ = clustered(5000, 32, dtype=dtype, queries=0)
    limits = np.iinfo(dtype)
    assert 25 < base.astype(float).std() < 50
    assert abs(base.astype(float).mean() - middle) < 8
    assert np.mean((base == limits.min) | (base == limits.max)) < 0.01


def test_norms_are_log_normal() -> None:
    base, _ = clustered(20_000, 32, norm_sigma=0.5, queries=0)
    logs = np.log(np.linalg.norm(base.astype(float), axis=1))
    assert abs(logs.mean()) < 0.02
    assert abs(logs.std() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows=0"),
        ({"dim": 0}, "dim=0"),
        ({"dim": 8193}, "dim=8193"),
        ({"queries": -1}, "queries=-1"),
        ({"clusters": 0}, "clusters=0"),
        ({"intrinsic_dim": 0}, "intrinsic_dim=0"),
        ({"zipf": -0.1}, "zipf=-0.1"),
        ({"seed": -1}, "seed=-1"),
        ({"norm_sigma": -1.0}, "norm_sigma=-1"),
        ({"norm_sigma": 0.5, "dtype": "uint8"}, "needs float32 or float16, not uint8"),
        ({"dtype": "float64"}, "float64 are not supported"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        clustered(**({"rows": 10, "dim": 4} | options))
