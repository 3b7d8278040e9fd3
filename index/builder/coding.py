"""Codes of groups (the router) and of vectors (residuals to their group's coded centroid).

For a vector x of a group with coded centroid c and residual r = x - c coded as r', let x' = c + r'.
A query that is near x differs from it in a direction that has nothing to do with the error x - x', so

    |q - x|^2 ~ |q - x'|^2 - |x - x'|^2 = |q - c|^2 + (|r'|^2 - |r - r'|^2 + 2 <c, r'>) - 2 <q, r'>

One table a query serves all groups, and the bracket is one constant a vector, kept in 8 bits.
Taking the error off matters where estimates of different codes, and exact distances, compete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.arrange import Arrangement, level_centroids
from pageann.index.builder.coders import train_coder
from pageann.index.builder.navigation import Navigation
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.quantizer import Coder, Quantizer, train_quantizer
from pageann.index.builder.query_sample import QueryOffset
from pageann.index.builder.residency import Pace, Residency
from pageann.index.code_families import Family
from pageann.index.kernels.scan import LANES
from pageann.index.segment_files import Shape
from pageann.types import Metric

__all__ = [
    "RouterCodes",
    "VectorCodes",
    "code_router",
    "code_vectors",
    "error_weight",
    "group_spreads",
    "lane_major",
    "take_rows",
    "training_bytes",
]

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_SAMPLE_ROWS = 65_536
_SAMPLE_BYTES = 32 << 20
_LEAST_SAMPLE_ROWS = 4096
_TRAINING_COPIES = 4
_BLOCK_BYTES = 1 << 20
_LEAST_ERROR_SHARE = 0.02
_REP_ERROR_WEIGHT = -1.0
_WALK_ERROR_WEIGHT = 0.0
_FINE_BITS = 1.5
_TINY = 1e-30
_TAIL = 1e-4
"""Share of constants at each end that may be clipped."""


@dataclass(frozen=True, slots=True)
class RouterCodes:
    """Coded centroids of all levels, as the router reads them."""

    quantizer: Quantizer
    codes: Bytes
    """Levels from the groups up; see :mod:`pageann.index.kernels.route`."""
    level_units: tuple[int, ...]
    level_offsets: tuple[int, ...]
    spread_step: float
    """One step of the constant of a group: its mean squared residual."""
    coded: Floats
    """Centroids of the groups as coded, float32 (groups, dim)."""


@dataclass(frozen=True, slots=True)
class VectorCodes:
    """Codes of residuals, slot by slot: ``codes`` (n, bytes + 1), the constant last.

    They may lie in a mapped file.
    """

    quantizer: Coder
    codes: Bytes
    low: float
    step: float
    error: float
    """Mean squared error of the coded vectors."""


def error_weight(shape: Shape, role: str, code_bytes: int, dim: int) -> float:
    """What part of its coding error is taken off a vector's estimate; see the head of this module.

    Fine codes are taken at their word. Vectors that are coarsely known are better looked at later,
    and so are those known from pages while coarse estimates of all others compete with them
    (photosift1m at 10 %, learn queries: 38.5 read units with weight -1, 39.3 with -2, and -3 is worse yet; at
    1 %, where only centroids compete: 72 with 1, 67 with 0, 76 with -1).
    """
    if role == "reps":
        return _REP_ERROR_WEIGHT if shape.code_bytes else _WALK_ERROR_WEIGHT
    fine = shape.rep_capacity > 0 or 8 * code_bytes >= _FINE_BITS * dim
    fine = fine or shape.code_family is Family.RABITQ  # whose estimates are right on average
    return 1.0 if fine else -1.0


def lane_major(codes: Bytes, group_slots: int) -> Bytes:
    """Rows of codes rearranged group by group into chunks of up to 32 lanes, flat.

    The last group is filled up with zeros.
    """
    rows, width = codes.shape
    groups = -(-rows // group_slots)
    padded = np.zeros((groups * group_slots, width), np.uint8)
    padded[:rows] = codes
    grouped = padded.reshape(groups, group_slots, width)
    chunks = [
        grouped[:, first:last].transpose(0, 2, 1).reshape(groups, -1)
        for first, last in ranges(group_slots, LANES)
    ]
    return np.ascontiguousarray(np.concatenate(chunks, axis=1)).ravel()


def sample_rows(dim: int) -> int:
    """Most residuals of ``dim`` elements that codes are trained on: 32 MiB of them, within limits."""
    return min(_SAMPLE_ROWS, max(_LEAST_SAMPLE_ROWS, _SAMPLE_BYTES // (4 * dim)))


def training_bytes(rows: int, dim: int) -> int:
    """What it takes to train codes of ``dim`` elements: the sample, as given and rotated, and its codes."""
    return _TRAINING_COPIES * 4 * dim * min(rows, sample_rows(dim))


def _block_rows(navigation: Navigation) -> int:
    """Rows of about 1 MiB of float32."""
    return max(32, _BLOCK_BYTES // (4 * int(navigation.array.shape[1])))


def _to_byte(values: npt.NDArray[np.floating[Any]], low: float, step: float) -> Bytes:
    if step <= 0:
        return np.zeros(len(values), np.uint8)
    return np.asarray(np.clip(np.rint((values - low) / step), 0, 255), np.uint8)


def take_rows(navigation: Navigation, rows: npt.NDArray[Any], pace: Pace) -> Floats:
    """Rows as float32; many of them in parts, since each part makes mapped pages resident."""
    taken = np.empty((len(rows), navigation.array.shape[1]), np.float32)
    for first, last in pace.runs(0, len(rows)):
        taken[first:last] = navigation.array[rows[first:last]]
    return taken


def group_spreads(
    navigation: Navigation,
    arrangement: Arrangement,
    group_slots: int,
    threads: int,
    residency: Residency | None = None,
) -> Floats:
    """Mean squared residual of each group."""
    spreads = np.empty(len(arrangement.centroids), np.float32)
    step = max(1, _block_rows(navigation) // group_slots)
    pace = Pace(residency, _block_rows(navigation))

    def block(piece: tuple[int, int]) -> None:
        first, last = piece[0] * group_slots, min(piece[1] * group_slots, len(arrangement.order))
        rows = take_rows(navigation, arrangement.order[first:last], pace)
        groups = np.arange(first, last) // group_slots
        residuals = rows - arrangement.centroids[groups]
        squares = np.einsum("ij,ij->i", residuals, residuals)
        sums = np.bincount(groups - piece[0], weights=squares, minlength=piece[1] - piece[0])
        counts = np.bincount(groups - piece[0], minlength=piece[1] - piece[0])
        spreads[piece[0] : piece[1]] = sums / np.maximum(counts, 1)

    run_pieces(block, ranges(len(spreads), step), threads)
    return spreads


def code_router(
    arrangement: Arrangement,
    spreads: Floats,
    code_bytes: int,
    *,
    rotate: bool,
    seed: int,
    threads: int = 1,
    residency: Residency | None = None,
) -> RouterCodes:
    """Train on the groups' centroids and code the centroids of every level."""
    if residency is not None:
        residency.make_room(arrangement.centroids.nbytes + training_bytes(*arrangement.centroids.shape))
    quantizer = train_quantizer(arrangement.centroids, code_bytes, rotate=rotate, seed=seed, threads=threads)
    levels = level_centroids(arrangement.centroids)
    coded = np.empty_like(arrangement.centroids)
    spread_step = float(np.float32(float(spreads.max()) / 255.0))
    blocks, offsets, position = [], [], 0
    for number, centroids in enumerate(levels):
        codes = np.empty((len(centroids), quantizer.code_bytes), np.uint8)
        constants = np.zeros(len(centroids), np.uint8)
        if number == 0:
            constants = _to_byte(spreads, 0.0, spread_step)
        for first, last in ranges(len(centroids), max(32, _BLOCK_BYTES // centroids[0].nbytes)):
            codes[first:last] = quantizer.encode(centroids[first:last])
            if number == 0:
                coded[first:last] = quantizer.decode(codes[first:last])
        block = lane_major(np.concatenate([codes, constants[:, None]], axis=1), LANES)
        offsets.append(position)
        position += len(block)
        blocks.append(block)
    units = tuple(len(level) for level in levels)
    return RouterCodes(quantizer, np.concatenate(blocks), units, tuple(offsets), spread_step, coded)


def _error_for(queries: QueryOffset, missed: Floats, error: float) -> float:
    """The mean squared error that would make estimates err as much as they do for these queries.

    A search takes the error of a code to point anywhere, so that an estimate errs by 2 |q - x| sqrt(error
    / dim); once the offset is taken off, less of q - x is left for it to err by.
    """
    found = np.einsum("ij,ij->i", queries.gaps, missed, dtype=np.float64)
    dim = missed.shape[1]
    variance = float(np.square(found).mean())
    least = _LEAST_ERROR_SHARE * error
    return float(np.float32(min(error, max(least, variance * dim / max(queries.square, _TINY)))))


def code_vectors(
    navigation: Navigation,
    arrangement: Arrangement,
    coded_centroids: Floats,
    group_slots: int,
    code_bytes: int,
    metric: Metric,
    *,
    error_weight: float,
    rotate: bool,
    seed: int,
    threads: int,
    residency: Residency | None = None,
    path: Path | None = None,
    queries: QueryOffset | None = None,
    family: Family = Family.PQ4,
) -> VectorCodes:
    """Train on a sample of residuals and code every vector, slot by slot.

    ``queries`` (its rows are places) are what estimates shall be right for; see :mod:`.query_sample`.
    The codes lie in a new file at ``path`` where one is given, else in memory.
    """
    rows = len(arrangement.order)
    pace = Pace(residency, _block_rows(navigation))
    rng = np.random.default_rng(seed)
    most = sample_rows(navigation.array.shape[1])
    sample = np.arange(rows) if rows <= most else np.sort(rng.choice(rows, most, replace=False))

    def residuals(slots: npt.NDArray[Any]) -> Floats:
        rows_here = take_rows(navigation, arrangement.order[slots], pace)
        rows_here -= coded_centroids[slots // group_slots]
        return rows_here

    def coded(rotated: Floats, groups: npt.NDArray[Any]) -> tuple[Bytes, Floats, Floats]:
        """(codes, constants, squared errors) of residuals in the rotated space: products are the same."""
        codes = quantizer.encode_rotated(rotated)
        decoded = quantizer.decode_rotated(codes)
        rotated -= decoded
        errors = np.einsum("ij,ij->i", rotated, rotated)
        known = np.zeros(len(codes), np.float32) if offset is None else 2 * rotated @ offset
        if metric is Metric.IP:
            return codes, -known, errors
        first = int(groups.min())
        centres = quantizer.rotate(coded_centroids[first : int(groups.max()) + 1])
        values = np.einsum("ij,ij->i", decoded, decoded) - error_weight * errors
        values += 2 * np.einsum("ij,ij->i", centres[groups - first], decoded)
        return codes, np.asarray(values - known, np.float32), errors

    if residency is not None:
        residency.make_room(training_bytes(*navigation.array.shape))
    sample_residuals = residuals(sample)
    quantizer = train_coder(family, sample_residuals, code_bytes, rotate=rotate, seed=seed, threads=threads)
    offset = None if queries is None else quantizer.rotate(queries.offset[None, :])[0]
    samples = [
        coded(quantizer.rotate(sample_residuals[first:last]), sample[first:last] // group_slots)[1:]
        for first, last in ranges(len(sample), _block_rows(navigation))
    ]
    values, errors = (np.concatenate(each) for each in zip(*samples, strict=True))
    error = float(np.float32(errors.mean(dtype=np.float64)))
    del sample_residuals
    if queries is not None:
        slots = np.empty(rows, np.int64)
        slots[arrangement.order] = np.arange(rows)
        near = residuals(slots[queries.rows])
        error = _error_for(queries, near - quantizer.decode(quantizer.encode(near)), error)
    low, high = (float(np.quantile(values, tail)) for tail in (_TAIL, 1 - _TAIL))
    low, step = float(np.float32(low)), float(np.float32((high - low) / 255.0))
    shape = (rows, quantizer.code_bytes + 1)
    if path is None or residency is None:
        codes: Bytes = np.empty(shape, np.uint8)
    else:
        codes = residency.create(path, np.uint8, shape)

    def block(piece: tuple[int, int]) -> None:
        slots = np.arange(*piece)
        here, constants, _ = coded(quantizer.rotate(residuals(slots)), slots // group_slots)
        codes[piece[0] : piece[1], :-1] = here
        codes[piece[0] : piece[1], -1] = _to_byte(constants, low, step)
        if residency is not None:
            residency.check()

    run_pieces(block, ranges(rows, _block_rows(navigation)), threads)
    return VectorCodes(quantizer, codes, low, step, error)
