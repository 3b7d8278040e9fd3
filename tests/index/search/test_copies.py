"""Copies of vectors save reads, and change nothing else: no row comes twice, no limit is overrun.

An engine that reads a vector from its own page only stands beside one that may choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from pageann.index.kernels import state
from pageann.index.kernels.copies import page_of_copy
from pageann.index.search.answers import Answers
from pageann.index.search.explain_steps import SteppedSearch
from pageann.index.search.load import LoadedSegment
from pageann.types import Metric
from tests.index.search.engines import KINDS, ROWS, Sample, running, without_copies
from tests.reference.small_segment import build_small, small_shape

COPIED = [name for name, kind in KINDS.items() if "copy_pages" in kind.shape]


@pytest.fixture(params=COPIED)
def sample(request: pytest.FixtureRequest, sample_of: Callable[[str], Sample]) -> Sample:
    return sample_of(request.param)


@pytest.fixture
def opened(sample: Sample) -> Iterator[LoadedSegment]:
    segment = sample.load()
    yield segment
    segment.close()


def answers_of(segment: LoadedSegment, sample: Sample, **changes: Any) -> Answers:
    with running(segment, "threads", workers=1) as engine:
        return engine.run(sample.asked, sample.options(**changes))


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """Enough pages that where a vector lies matters."""
    vectors, queries = clustered(6000, 16, dtype="uint8", queries=60, clusters=8, intrinsic_dim=10, seed=5)
    shape = small_shape(16, capacity=16, code_bytes=(8,), copy_pages=6000 // 16)
    small = build_small(tmp_path_factory.mktemp("larger") / "s", vectors, Metric.L2, shape)
    kind = replace(KINDS["copies"], shape={"capacity": 16, "code_bytes": (8,), "copy_pages": 6000 // 16})
    KINDS["larger"] = kind
    try:
        yield Sample("larger", small, queries)
    finally:
        del KINDS["larger"]


def test_reads_are_saved_at_the_same_recall(larger: Sample) -> None:
    segment = larger.load()
    found = {}
    for name, each in (("own", without_copies(segment)), ("either", segment)):
        answers = answers_of(each, larger, effort=30, scan_groups=200, cells=64, width=16)
        kth = np.sort(larger.distances, axis=1)[:, 9:10]
        found[name] = (
            float((answers.distances <= kth + 1e-9).mean()),
            float(answers.counters[:, state.N_READS].mean()),
        )
    segment.close()
    (own_recall, own_reads), (recall, reads) = found["own"], found["either"]
    assert own_recall > 0.9
    assert recall >= own_recall - 0.01
    assert reads < 0.93 * own_reads


@pytest.mark.parametrize("k", [1, 10, 60])
def test_no_row_comes_twice(sample: Sample, opened: LoadedSegment, k: int) -> None:
    for effort in (1, 12, 90):
        answers = answers_of(opened, sample, k=k, effort=effort)
        for rows, count in zip(answers.rows.tolist(), answers.counts.tolist(), strict=True):
            assert count == k
            assert len(set(rows)) == k


def test_equal_vectors_are_all_found(tmp_path: Path) -> None:
    """What looks like one vector read twice may be two: rows tell them apart."""
    random = np.random.default_rng(2)
    vectors = random.integers(0, 255, (300, 16)).astype(np.uint8)
    vectors[100:140] = vectors[7]
    shape = small_shape(16, capacity=8, code_bytes=(8,), copy_pages=300 // 8)
    small = build_small(tmp_path / "s", vectors, Metric.L2, shape)
    sample = Sample("copies", small, vectors[7:8])
    segment = sample.load()
    answers = answers_of(segment, sample, k=41, effort=60, scan_groups=300, cells=64)
    segment.close()
    assert sorted(answers.rows[0].tolist()) == [7, *range(100, 140)]
    assert not answers.distances.any()


def test_limits_hold_with_either_page(sample: Sample, opened: LoadedSegment) -> None:
    for most in (1, 3):
        answers = answers_of(opened, sample, max_reads=most)
        assert (answers.counters[:, state.N_READS] <= most).all()
        assert (answers.counters[:, state.N_STOP] == state.STOP_MAX_READS).any()
    answers = answers_of(opened, sample, walk_pages=4)
    looked_at = answers.counters[:, state.N_READS] + answers.counters[:, state.N_PINNED]
    assert (looked_at <= 4).all()


def test_a_search_of_all_rows_reads_no_copy(sample: Sample, opened: LoadedSegment) -> None:
    answers = answers_of(opened, sample, effort=ROWS, scan_groups=ROWS, cells=ROWS, k=25)
    assert (answers.slots < ROWS).all()
    expected = np.sort(sample.distances, axis=1)[:, :25]
    np.testing.assert_allclose(answers.distances, expected, rtol=1e-12, atol=1e-12)


def test_no_vector_is_known_and_estimated(sample: Sample, opened: LoadedSegment) -> None:
    capacity = opened.shape.capacity
    rounds = 0
    with SteppedSearch(opened, sample.options(first_width=3, next_width=3)) as search:
        for query in sample.asked:
            search.start(query)
            asked: set[int] = set()
            while not search.done:
                asked |= set(search.wanted.tolist())
                search.read()
                search.absorb()
                rounds += 1
                count = search.counters[state.N_POOL]
                is_open = search.work.pool_states[0, :count] != state.EXACT
                for slot in search.work.pool_slots[0, :count][is_open].tolist():
                    assert not asked & {slot // capacity, page_of_copy(opened.resident, slot)}
    assert rounds > len(sample.asked)
