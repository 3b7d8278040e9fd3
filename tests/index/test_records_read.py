"""Vectors come back byte for byte as they were given, whatever slots are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pageann.errors import IndexClosed, InvalidArgument
from pageann.index.search.page_reads import Reads
from pageann.types import DTYPES
from tests.index.record_files import CAPACITY, layout_of, random_order, reading, write_records
from tests.reference.sample_index import random_numbers


def random_vectors(rows: int, dim: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return random_numbers(np.random.default_rng(seed), (rows, dim), np.dtype(dtype))


@given(
    rows=st.integers(1, 60),
    dim=st.integers(1, 40),
    dtype=st.sampled_from(DTYPES),
    row_bytes=st.sampled_from([4, 8]),
    capacity=st.integers(1, 9),
    direct=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slots_and_pages_of_any_layout(
    tmp_path: Path, rows: int, dim: int, dtype: Any, row_bytes: int, capacity: int, direct: bool, seed: int
) -> None:
    vectors = random_vectors(rows, dim, dtype, seed)
    order = random_order(rows, seed)
    layout = layout_of(vectors, row_bytes, capacity)
    path = write_records(tmp_path / "pages.bin", layout, vectors, order)
    slots = np.random.default_rng(seed).integers(0, rows, 30)
    with reading(path, layout, rows, direct=direct) as reader:
        found = reader.vectors_of_slots(slots)
        assert found.dtype == dtype
        assert found.tobytes() == vectors[order[slots]].tobytes()
        blocks = list(reader.pages(0, reader.page_count))
    assert np.array_equal(np.concatenate([numbers for numbers, _ in blocks]), order)
    assert np.concatenate([block for _, block in blocks]).tobytes() == vectors[order].tobytes()


def test_vectors_larger_than_a_small_page(tmp_path: Path) -> None:
    vectors = random_vectors(40, 1536, np.float32)
    order = random_order(40)
    layout = layout_of(vectors, capacity=1)
    assert layout.page_bytes == 8192
    path = write_records(tmp_path / "vectors.bin", layout, vectors, order)
    with reading(path, layout, 40) as reader:
        assert np.array_equal(reader.vectors_of_slots(np.arange(40)), vectors[order])


def test_blocks_stay_valid_over_several_large_reads(tmp_path: Path) -> None:
    vectors = random_vectors(3000, 700, np.uint8)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, np.arange(3000))
    with reading(path, layout, 3000) as reader:
        blocks = list(reader.pages(0, reader.page_count))
        assert len(blocks) == 3  # 600 pages of 4 KiB, 256 a read
        assert np.array_equal(np.concatenate([block for _, block in blocks]), vectors)
        some = list(reader.pages(3, 5))
    assert [rows.tolist() for rows, _ in some] == [list(range(3 * CAPACITY, 5 * CAPACITY))]
    assert np.array_equal(some[0][1], vectors[3 * CAPACITY : 5 * CAPACITY])


@pytest.mark.parametrize(
    ("slots", "count", "kib"),
    [
        ([], 0, 0.0),
        ([7], 1, 4.0),
        ([CAPACITY, 2 * CAPACITY - 1, CAPACITY, CAPACITY + 1], 1, 4.0),
        ([0, 3 * CAPACITY], 2, 8.0),
        ([CAPACITY, 0, 2 * CAPACITY], 1, 12.0),
        (list(range(2000)), 2, 1600.0),  # 400 pages of 4 KiB, 256 a read
    ],
)
def test_a_page_is_read_once_and_neighbours_together(
    tmp_path: Path, slots: list[int], count: int, kib: float
) -> None:
    vectors = random_vectors(2000, 4, np.uint8)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, np.arange(2000))
    reads = Reads()
    with reading(path, layout, 2000) as reader:
        assert np.array_equal(reader.vectors_of_slots(np.array(slots, np.int64), reads), vectors[slots])
    assert (reads.count, reads.kib) == (count, kib)


@pytest.mark.parametrize("slot", [-1, 12])
def test_slots_beyond_the_index_are_refused(tmp_path: Path, slot: int) -> None:
    vectors = random_vectors(12, 4, np.uint8)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, np.arange(12))
    with reading(path, layout, 12) as reader, pytest.raises(InvalidArgument, match=f"slot {slot}:"):
        reader.vectors_of_slots(np.array([3, slot]))


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    vectors = random_vectors(12, 4, np.uint8)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, np.arange(12))
    with reading(path, layout, 12) as reader:
        pass
    with pytest.raises(IndexClosed, match=r"pages\.bin"):
        reader.vectors_of_slots(np.array([0]))
