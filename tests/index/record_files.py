"""Write a file of exact vectors and read it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.index.builder.pages import write_pages
from pageann.index.search.records import RecordReader
from pageann.storage.files import OsFiles
from pageann.storage.format import PageLayout
from pageann.storage.io.files import open_for_reading
from tests.reference.sample_index import TAG

CAPACITY = 5


def random_order(rows: int, seed: int = 0) -> NDArray[np.int32]:
    """The row in each slot."""
    return np.random.default_rng(seed).permutation(rows).astype(np.int32)


def layout_of(vectors: NDArray[Any], row_bytes: int = 4, capacity: int = CAPACITY) -> PageLayout:
    """Pages of few places, so that few vectors fill many pages."""
    page_bytes = 4096
    while page_bytes < 64 + capacity * (vectors.shape[1] * vectors.itemsize + row_bytes):
        page_bytes *= 2
    return PageLayout.of_vectors(page_bytes, capacity, vectors.shape[1], vectors.dtype, row_bytes, TAG)


def write_records(path: Path, layout: PageLayout, vectors: NDArray[Any], order: NDArray[Any]) -> Path:
    """``path``, written."""
    write_pages(OsFiles(), path, layout, lambda rows: vectors[rows], order)
    return path


@contextmanager
def reading(path: Path, layout: PageLayout, rows: int, *, direct: bool = True) -> Iterator[RecordReader]:
    """A reader of what :func:`write_records` wrote."""
    with open_for_reading(path, direct=direct) as file:
        yield RecordReader(path, file, layout, rows)
