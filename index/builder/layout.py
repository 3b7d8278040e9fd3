"""Decide the shape of an index from what is to be stored and the memory it is built for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pageann.errors import InvalidArgument
from pageann.index.segment_files import Shape
from pageann.storage.format import LARGEST_PAGE_BYTES, PAGE_HEADER_BYTES, SMALLEST_PAGE_BYTES
from pageann.types import Metric

__all__ = ["choose_shape"]

LANES = 32
LEAST_CAPACITY = 2
_CODES_FROM_BYTES = 6.5
"""Resident bytes a vector from which codes of all vectors beat codes of page centroids alone."""


def _row_bytes(rows: int) -> int:
    return 4 if rows <= 2**32 - 1 else 8


def _capacity(page_bytes: int, vector_bytes: int, row_bytes: int) -> int:
    return (page_bytes - PAGE_HEADER_BYTES) // (vector_bytes + row_bytes)


def _page_for(vector_bytes: int, row_bytes: int, least: int, page_bytes: int) -> int:
    """The smallest page from ``page_bytes`` up that holds ``least`` vectors; 0 if none does."""
    while page_bytes <= LARGEST_PAGE_BYTES:
        if _capacity(page_bytes, vector_bytes, row_bytes) >= least:
            return page_bytes
        page_bytes *= 2
    return 0


def choose_shape(
    rows: int,
    dim: int,
    dtype: np.dtype[np.generic],
    metric: Metric,
    memory_bytes: int,
    page_bytes: int | None,
) -> Shape:
    """The shape of an index of ``rows`` x ``dim`` for ``memory_bytes`` of RAM.

    With enough memory for codes of all vectors, pages are full of vectors; with less, half of each
    page or more goes to representatives. Raises InvalidArgument where ``page_bytes`` is too small.
    """
    row_bytes = _row_bytes(rows)
    vector_bytes = dim * dtype.itemsize
    wanted = page_bytes or SMALLEST_PAGE_BYTES
    quantised = dtype.itemsize > 1 and _capacity(wanted, vector_bytes, row_bytes) < LEAST_CAPACITY
    stored_bytes = dim if quantised else vector_bytes
    page = _page_for(stored_bytes, row_bytes, LEAST_CAPACITY, wanted)
    if not page or (page_bytes and page != page_bytes):
        needed = _page_for(stored_bytes, row_bytes, LEAST_CAPACITY, SMALLEST_PAGE_BYTES)
        raise InvalidArgument(
            f"page_bytes={page_bytes}: vectors of {dim} x {dtype} need pages of {needed} bytes; leave it out"
        )
    exact_page = _page_for(vector_bytes, row_bytes, 1, SMALLEST_PAGE_BYTES) if quantised else 0
    shape = Shape(
        page_bytes=page,
        capacity=min(_capacity(page, stored_bytes, row_bytes), max(rows, 1)),
        group_pages=1,
        router_bytes=min(32, -(-dim // 2)),
        code_bytes=(),
        rep_bytes=0,
        rep_capacity=0,
        link_capacity=0,
        quantised=quantised,
        exact_page_bytes=exact_page,
        exact_capacity=_capacity(exact_page, vector_bytes, row_bytes) if quantised else 0,
        row_bytes=row_bytes,
    )
    per_vector = memory_bytes / rows
    if per_vector >= _CODES_FROM_BYTES:
        return _with_codes(shape, dim, stored_bytes, per_vector)
    return _with_representatives(shape, dim, stored_bytes, per_vector)
