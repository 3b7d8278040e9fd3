"""Export gives back the input: same vectors, same order, in any format, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument, StorageError
from pageann.index.search.row_order import RowsDiffer, in_row_order
from tests.index.record_files import layout_of, random_order, reading, write_records

ROWS, DIM = 300, 7


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("out.npy", np.float16),
        ("out.npy", np.int8),
        ("out.fvecs", np.float32),
        ("out.u8bin", np.uint8),
        ("out.h5", np.float32),
        ("out.parquet", np.float32),
    ],
)
def test_formats(tmp_path: Path, name: str, dtype: type) -> None:
    vectors = np.random.default_rng(1).integers(0, 100, (ROWS, DIM)).astype(dtype)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(ROWS))
    ids = [f"row {number}" for number in range(ROWS)] if name == "out.parquet" else None
    with reading(path, layout, ROWS) as reader:
        reader.export(tmp_path / name, ids)
    source = open_vectors(tmp_path / name)
    assert source.dtype == dtype
    assert np.array_equal(source.mapped(None), vectors)
    assert source.ids == ids
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["pages.bin", name])


def test_mistakes_leave_no_file(tmp_path: Path) -> None:
    vectors = np.full((10, 3), 0.5, np.float32)
    layout = layout_of(vectors)
    path = write_records(tmp_path / "pages.bin", layout, vectors, random_order(10))
    with reading(path, layout, 10) as reader:
        with pytest.raises(InvalidArgument, match="unknown suffix"):
            reader.export(tmp_path / "out.txt")
        with pytest.raises(StorageError, match="no such file or folder"):
            reader.export(tmp_path / "missing" / "out.npy")
        with pytest.raises(ValueError, match="cannot"):
            reader.export(tmp_path / "out.u8bin")
    assert [entry.name for entry in tmp_path.iterdir()] == ["pages.bin"]


@given(
    rows=st.integers(1, 200),
    bucket_rows=st.integers(1, 50),
    block=st.integers(1, 60),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_buckets_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, rows: int, bucket_rows: int, block: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((rows, 3)).astype(np.float32)
    order = generator.permutation(rows)
    blocks = ((order[at : at + block], vectors[order[at : at + block]]) for at in range(0, rows, block))
    record_bytes = 8 + 3 * 4
    parts = list(
        in_row_order(
            blocks,
            rows,
            3,
            vectors.dtype,
            tmp_path_factory.getbasetemp(),
            bucket_bytes=bucket_rows * record_bytes,
        )
    )
    assert max(map(len, parts)) <= bucket_rows
    assert np.array_equal(np.concatenate(parts), vectors)


@pytest.mark.parametrize("numbers", [[0, 1, 1, 3], [0, 1, 2], [0, 0, 1, 2, 3], [3, 3, 3, 3]])
@pytest.mark.parametrize("bucket_rows", [1, 2, 10])
def test_rows_that_are_missing_or_repeated(tmp_path: Path, numbers: list[int], bucket_rows: int) -> None:
    blocks = [(np.array(numbers), np.zeros((len(numbers), 2), np.uint8))]
    with pytest.raises(RowsDiffer):
        list(in_row_order(blocks, 4, 2, np.dtype(np.uint8), tmp_path, bucket_bytes=10 * bucket_rows))
