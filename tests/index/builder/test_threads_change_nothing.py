"""The same input, options and seed give the same bytes, with any number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from pageann.index.builder import packing, trees
from pageann.index.builder.trees import balanced_order
from pageann.types import Metric
from tests.reference.small_segment import build_small, small_shape
from tests.reference.vector_sets import continuous


def segment_bytes(folder: Path, vectors: Any, metric: Metric, **options: Any) -> dict[str, bytes]:
    dim = vectors.shape[1]
    shape = small_shape(
        dim, capacity=6, group_pages=2, code_bytes=(4, 2), rep_bytes=4, rep_capacity=40, link_capacity=12
    )
    build_small(folder, vectors, metric, shape, **options)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("dtype", "metric"), [("uint8", Metric.L2), ("float32", Metric.COSINE), ("int8", Metric.IP)]
)
def test_segments_are_equal_to_the_byte(
    dtype: str, metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_MOST_SUBTREE_ROWS", 400)  # so that large nodes are split on several threads
    monkeypatch.setattr(packing, "_SWAP_BLOCK_ROWS", 700)
    monkeypatch.setattr(packing, "_SWAP_PIECE_ROWS", 90)
    vectors, _ = clustered(3001, 12, dtype=dtype, queries=1, seed=2, clusters=20)
    first = segment_bytes(tmp_path / "one", vectors, metric, threads=1)
    assert {"pages.bin", "router.bin", "reps.bin", "codes-004.bin", "codes-002.bin"} == set(first)
    for threads in (2, 3):
        again = segment_bytes(tmp_path / f"threads-{threads}", vectors, metric, threads=threads)
        for name, content in first.items():
            assert again[name] == content, (name, threads)
    other = segment_bytes(tmp_path / "other", vectors, metric, threads=1, seed=1)
    assert other["pages.bin"] != first["pages.bin"], "the seed decides"


@pytest.mark.parametrize("subtree_rows", [100, 333, 10_000])
def test_where_the_tree_is_handed_to_threads_does_not_matter(
    subtree_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = continuous(1, 2003, 6)
    expected = balanced_order(vectors, 10, 10, 5, 1)
    monkeypatch.setattr(trees, "_MOST_SUBTREE_ROWS", subtree_rows)
    monkeypatch.setattr(trees, "_CHUNK_BYTES", 2400)
    assert (balanced_order(vectors, 10, 10, 5, 2) == expected).all()
    assert sorted(expected.tolist()) == list(range(2003))
    assert np.any(expected != balanced_order(vectors, 10, 10, 6, 1))
