"""Reading a mapped file may not leave the whole of it in the process's memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.source import open_vectors, release_pages
from pageann.datasets.truth import exact_neighbours
from pageann.datasets.validate import check_vectors
from pageann.datasets.writers import write_vectors
from pageann.types import Metric

STATUS = Path("/proc/self/status")
MIB = 1 << 20
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")


def mapped_bytes() -> int:
    """Resident bytes of mapped files in this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 24 MiB."""
    blocks = (np.full((6144, 128), number + 1, np.float32) for number in range(8))
    write_vectors(tmp_path / "a.fbin", blocks, 8 * 6144, 128)
    return tmp_path / "a.fbin"


def test_released_pages_leave_the_process_and_keep_their_values(path: Path) -> None:
    mapped = open_vectors(path).mapped(None)
    before = mapped_bytes()
    total = float(mapped.sum(dtype=np.float64))
    assert mapped_bytes() - before > 20 * MIB
    release_pages(mapped)
    assert mapped_bytes() - before < 4 * MIB
    assert float(mapped.sum(dtype=np.float64)) == total == 36 * 6144 * 128


def test_arrays_and_private_mappings_keep_their_changes(path: Path) -> None:
    array = np.ones((2, 2), np.float32)
    release_pages(array)
    assert array.sum() == 4
    private = np.memmap(path, np.float32, "c", offset=8, shape=(8 * 6144, 128))
    private[5] = 77
    release_pages(private)
    assert (private[5] == 77).all()


def test_truth_does_not_keep_the_base_resident(path: Path) -> None:
    mapped = open_vectors(path).mapped(None)
    queries = np.ones((3, 128), np.float32) * 4.25
    exact_neighbours(mapped, queries, 5, Metric.L2)  # loads the libraries, which are mapped too
    release_pages(mapped)
    before = mapped_bytes()
    ids, _ = exact_neighbours(mapped, queries, 5, Metric.L2)
    assert mapped_bytes() - before < 8 * MIB
    np.testing.assert_array_equal(ids, np.tile(np.arange(5) + 3 * 6144, (3, 1)))


def test_checking_a_file_holds_a_few_blocks(path: Path) -> None:
    source = open_vectors(path)
    before = mapped_bytes()
    tracemalloc.start()
    check_vectors(source, Metric.L2, block_rows=2048)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * MIB
    assert mapped_bytes() - before < 2 * MIB
