"""Small segments of every kind, and engines over them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_distances
from pageann.index.kernels import state
from pageann.index.search.answers import Answers
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.workspace import WorkspaceSize
from pageann.storage.io.faults import Fault
from pageann.types import Metric
from tests.reference.small_segment import SmallSegment, build_small, small_shape

DRIVERS = ("uring", "threads", "aio")
ROWS = 700
QUERIES = 24
COUNTED = (
    state.N_READS, state.N_BYTES, state.N_HALF_UNITS, state.N_HOPS, state.N_CODES, state.N_PINNED,
    state.N_STOP,
)  # fmt: skip
"""Counters that do not depend on the clock."""


@dataclass(frozen=True)
class Kind:
    """What a segment is built from, and what of it is resident."""

    dim: int
    dtype: str
    metric: Metric
    residence: Residence
    shape: dict[str, Any]


_TWO_STEPS = {
    "capacity": 16,
    "code_bytes": (6,),
    "quantised": True,
    "exact_page_bytes": 4096,
    "exact_capacity": 5,
}
KINDS = {
    "codes": Kind(16, "uint8", Metric.L2, Residence(8, 0, False), {"capacity": 16, "code_bytes": (8,)}),
    "copies": Kind(
        16, "uint8", Metric.L2, Residence(8, 0, False),
        {"capacity": 16, "code_bytes": (8,), "copy_pages": 30},
    ),
    "copies-pinned": Kind(
        16, "float32", Metric.IP, Residence(8, 9, False),
        {"capacity": 8, "code_bytes": (8,), "copy_pages": 60},
    ),
    "pinned": Kind(16, "uint8", Metric.L2, Residence(8, 9, False), {"capacity": 16, "code_bytes": (8,)}),
    "walk": Kind(
        12, "float32", Metric.L2, Residence(0, 0, False),
        {"capacity": 16, "code_bytes": (), "rep_bytes": 4, "rep_capacity": 40, "link_capacity": 6},
    ),
    "walk-inner-product": Kind(
        12, "int8", Metric.IP, Residence(0, 3, False),
        {"capacity": 16, "code_bytes": (), "rep_bytes": 4, "rep_capacity": 40, "link_capacity": 6},
    ),
    "grouped": Kind(
        9, "float16", Metric.L2, Residence(0, 0, False), {"capacity": 8, "code_bytes": (), "group_pages": 3}
    ),
    "two-steps": Kind(20, "float32", Metric.COSINE, Residence(6, 0, False), _TWO_STEPS),
    "direct": Kind(20, "float32", Metric.COSINE, Residence(6, 4, True), _TWO_STEPS),
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A segment on disk and queries for it."""

    name: str
    small: SmallSegment
    queries: NDArray[Any]

    @property
    def kind(self) -> Kind:
        """What it was built from."""
        return KINDS[self.name]

    @property
    def asked(self) -> NDArray[np.float32]:
        """The queries as an engine takes them."""
        return self.queries.astype(np.float32)

    def load(self, folder: Path | None = None) -> LoadedSegment:
        """Open it, or a copy of it in ``folder``; the caller closes it."""
        return load_segment(folder or self.small.folder, self.small.entry, self.kind.residence)

    def options(self, **changes: Any) -> CallOptions:
        """Settings of a usual search; ``changes`` replace fields of the options or of their size."""
        size = WorkspaceSize(k=10, effort=40, scan_groups=30, cells=16, width=8)
        integral = self.queries.dtype.kind in "iu"
        options = CallOptions(size, 8, 4, 20, 10**9, 0, integral)
        of_size = {name: changes.pop(name) for name in list(changes) if name in WorkspaceSize.__slots__}
        return replace(options, size=replace(size, **of_size), **changes)

    def whole(self, **changes: Any) -> CallOptions:
        """Settings that leave nothing out."""
        return self.options(
            **{"effort": ROWS + 1, "scan_groups": ROWS, "cells": ROWS, "rerank": ROWS, "k": 10, **changes}
        )

    @functools.cached_property
    def distances(self) -> NDArray[np.float64]:
        """(queries, rows), exact."""
        return np.stack(
            [exact_distances(self.small.vectors, query, self.kind.metric) for query in self.queries]
        )


def build_sample(name: str, folder: Path) -> Sample:
    """Build the segment of a kind."""
    kind = KINDS[name]
    vectors, queries = clustered(
        ROWS, kind.dim, dtype=kind.dtype, queries=QUERIES, clusters=12, intrinsic_dim=5, seed=3
    )
    return Sample(
        name, build_small(folder / name, vectors, kind.metric, small_shape(kind.dim, **kind.shape)), queries
    )


def without_copies(segment: LoadedSegment) -> LoadedSegment:
    """The same segment, read as if no vector lay on a second page; it is closed with this one."""
    parameters = segment.resident.parameters.copy()
    parameters[state.P_COPY_BYTES] = 0
    return replace(segment, resident=segment.resident._replace(parameters=parameters))


@contextmanager
def running(
    segment: LoadedSegment, driver: str, workers: int = 2, slots: int = 5, faults: Sequence[Fault] = ()
) -> Iterator[Engine]:
    """An engine over ``segment``, closed at the end."""
    engine = Engine(segment, driver, workers=workers, slots=slots, faults=faults)
    try:
        yield engine
    finally:
        engine.close()


def assert_same(answers: Answers, expected: Answers) -> None:
    """All but the times must be equal."""
    for name in ("rows", "distances", "slots", "counts"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(answers.counters[:, COUNTED], expected.counters[:, COUNTED])


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(number)`` on so many threads at once; raises what the first of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def body(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
