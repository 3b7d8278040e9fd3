"""On a segment as the builder makes it: the input's bytes come back, and both ways to the nearest agree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex
from pageann.index.builder.ids import write_ids
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.ids import IdMap
from pageann.index.search.load import LoadedSegment
from pageann.index.search.records import RecordReader
from pageann.index.search.workspace import WorkspaceSize
from pageann.storage.files import OsFiles
from pageann.types import Metric
from tests.reference.small_segment import TAG, SmallSegment, build_small, small_shape

ROWS, DIM = 300, 12
QUANTISED: dict[str, Any] = {"quantised": True, "exact_page_bytes": 4096, "exact_capacity": 3}


def clustered(dtype: Any) -> NDArray[Any]:
    generator = np.random.default_rng(3)
    centres = generator.normal(100, 40, (10, DIM))
    return np.clip(
        centres[generator.integers(0, 10, ROWS)] + generator.normal(0, 5, (ROWS, DIM)), 1, 250
    ).astype(dtype)


@pytest.fixture(scope="module", params=["plain", "quantised"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallSegment:
    shape = small_shape(DIM, **(QUANTISED if request.param == "quantised" else {}))
    folder = tmp_path_factory.mktemp("segment") / "seg-000001"
    return build_small(folder, clustered(np.float32), Metric.COSINE, shape)


@pytest.fixture
def segment(small: SmallSegment) -> Iterator[LoadedSegment]:
    loaded = small.load()
    yield loaded
    loaded.close()


def test_get_by_id_gives_the_bytes_of_the_input(
    small: SmallSegment, segment: LoadedSegment, tmp_path: Path
) -> None:
    names = [f"photo {number}" for number in range(ROWS)]
    path = tmp_path / "ids.bin"
    _, meta = write_ids(OsFiles(), path, small.built.order, names, TAG)
    wanted = np.random.default_rng(4).integers(0, ROWS, 50)
    with IdMap.open(path, meta, ROWS, TAG, resident=False) as ids:
        slots = ids.slots_of_rows(ids.rows_of_ids([names[row] for row in wanted]))
    found = RecordReader.of_segment(segment).vectors_of_slots(slots)
    assert found.tobytes() == small.vectors[wanted].tobytes()


def test_export_gives_the_input(small: SmallSegment, segment: LoadedSegment, tmp_path: Path) -> None:
    RecordReader.of_segment(segment).export(tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tobytes() == small.vectors.tobytes()


def test_exact_scan_returns_the_distances_of_an_exhaustive_search(
    small: SmallSegment, segment: LoadedSegment
) -> None:
    queries = (small.vectors[::60] + np.float32(0.37)).astype(np.float32)
    options = CallOptions(WorkspaceSize(10, ROWS, ROWS, 64, 8), 8, 8, ROWS, sys.maxsize, 0, False)
    engine = Engine(segment, "threads", workers=1, slots=2)
    try:
        answers = engine.run(queries, options)
    finally:
        engine.close()
    rows, distances = RecordReader.of_segment(segment).exact_scan(queries, 10, Metric.COSINE, integral=False)
    assert np.array_equal(rows, answers.rows)
    assert np.array_equal(distances, answers.distances)


def test_vectors_of_another_type_than_the_manifest_says(segment: LoadedSegment) -> None:
    object.__setattr__(segment.entry, "dtype", "uint8")
    try:
        with pytest.raises(DamagedIndex, match="manifest"):
            RecordReader.of_segment(segment)
    finally:
        object.__setattr__(segment.entry, "dtype", "float32")
