"""Put the parts of an examination together, and say what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.doctor_report import DataHealth, DoctorReport, GraphHealth
from pageann.index.search.difficulty import NEIGHBOURS, Difficulty, estimate_difficulty
from pageann.index.search.doctor import examine_graph, examine_vectors
from pageann.index.search.effort import Calibration
from pageann.index.search.load import LoadedSegment
from pageann.index.search.page_reads import Reads
from pageann.index.search.records import RecordReader
from pageann.types import Metric

__all__ = ["examine"]

_SAMPLE = 256
_SCANNED_SAMPLE = 64
"""Where searches rank by inner product, and Euclidean neighbours take a scan."""
_COSINE_ROUNDING = 1e-6
_MANY_DUPLICATES = 0.01
_UNIT_SLACK = 1e-3
_EQUAL_NORMS = 1e-3
_HARD_NEAR_ROWS = 1000
"""Codes of a few bits a dimension err by some 10 % of such a distance (photosift1m, 28 bytes: 8 %). Where a
thousand rows lie within that much of the tenth, they cannot say which ten to read (photosift1m: some 70)."""
_HARD_CONTRAST = 1.25
"""Below, the tenth neighbour is hardly nearer than any vector, however few there are."""


Near = Callable[[npt.NDArray[np.float32], int], npt.NDArray[np.floating[Any]]]


def examine(
    path: str, segment: LoadedSegment, records: RecordReader, calibration: Calibration, near: Near
) -> DoctorReport:
    """Examine an open index; ``near(queries, k)`` searches it, carefully."""
    reads = Reads()
    graph, graph_bytes = examine_graph(segment, reads)
    vectors = examine_vectors(records)
    duplicates, norms = vectors.duplicates, vectors.norms
    metric, rows = Metric.parse(segment.entry.metric), segment.entry.rows
    difficulty, sample = _difficulty(records, metric, near)
    data = DataHealth(
        duplicate_rows=duplicates.rows,
        largest_group=duplicates.largest_group,
        norm_mean=norms.mean,
        norm_deviation=norms.deviation,
        norm_least=norms.least,
        norm_most=norms.most,
        intrinsic_dim=difficulty.intrinsic_dim,
        contrast=difficulty.contrast,
        near_rows=difficulty.near_rows,
        sample=sample,
    )
    units = calibration.usual_units(segment.residence.code_bytes)
    findings = (*_graph_findings(graph), *_data_findings(data, rows, metric, segment.shape.capacity))
    return DoctorReport(
        path=path,
        rows=rows,
        graph=graph,
        data=data,
        usual_units=units,
        findings=findings,
        memory_bytes=max(graph_bytes, vectors.held_bytes),
        read_bytes=reads.bytes + vectors.read_bytes,
    )


def _difficulty(records: RecordReader, metric: Metric, near: Near) -> tuple[Difficulty, int]:
    """(difficulty, vectors of the sample), by distances that are Euclidean whatever the metric ranks by."""
    most = _SCANNED_SAMPLE if metric is Metric.IP else _SAMPLE
    slots = np.unique(np.linspace(0, records.rows - 1, min(most, records.rows)).astype(np.int64))
    vectors = records.vectors_of_slots(slots)
    wide = vectors.astype(np.float32)
    k = min(NEIGHBOURS, records.rows)
    if metric is Metric.IP:
        integral = vectors.dtype.kind in "iu"
        squares = records.exact_scan(wide, k, Metric.L2, integral=integral)[1]
    else:
        squares = np.asarray(near(wide, k), np.float64)
    if metric is Metric.COSINE:  # 1 - cos is half the square of the chord
        squares = 2 * squares
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        squares[squares < _COSINE_ROUNDING] = 0
    return estimate_difficulty(wide, np.sqrt(np.maximum(squares, 0)), records.rows), len(slots)


def _graph_findings(graph: GraphHealth) -> Iterator[str]:
    if graph.reached_pages == graph.pages:
        return
    lost = graph.pages - graph.reached_pages
    if graph.out_degree == 0:
        yield "pages have no room for links, so only the router leads to them"
    else:
        yield (
            f"{lost:,} pages cannot be reached over links, {', '.join(map(str, graph.lost_pages))} among "
            "them; the router still leads to them, and building the index again lays links"
        )


def _data_findings(data: DataHealth, rows: int, metric: Metric, capacity: int) -> Iterator[str]:
    if data.duplicate_rows >= _MANY_DUPLICATES * rows:
        yield (
            f"{data.duplicate_rows / rows:.1%} of the rows repeat an earlier one byte for byte, up to "
            f"{data.largest_group:,} of the same: they fill answers with copies; remove them before building"
        )
    elif data.largest_group > capacity:
        yield f"{data.largest_group:,} rows are the same vector, more than lie on a page"
    if metric is Metric.COSINE and abs(data.norm_mean - 1) + data.norm_deviation > _UNIT_SLACK:
        yield (
            f"vectors are not of unit length ({data.norm_least:.4g} to {data.norm_most:.4g}): cosine ignores "
            "lengths; if they mean something, build with ip"
        )
    if metric is Metric.IP and data.norm_deviation <= _EQUAL_NORMS * data.norm_mean:
        yield "all vectors have the same length, so ip ranks as cosine does, which searches with fewer reads"
    if data.near_rows is None or data.contrast is None:
        return
    if data.near_rows >= _HARD_NEAR_ROWS or data.contrast < _HARD_CONTRAST:
        yield (
            f"near-uniform data (intrinsic dimension {data.intrinsic_dim:.0f}, contrast {data.contrast:.2f}, "
            f"about {data.near_rows:,.0f} rows within 1.1 times the distance of the tenth neighbour): expect "
            "many reads; more memory for finer codes helps most"
        )
