"""Build one segment: from vectors to the files that a search opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.arrange import Arrangement, arrange
from pageann.index.builder.coding import VectorCodes, code_router, code_vectors, group_spreads
from pageann.index.builder.navigation import Navigation
from pageann.index.builder.neighbours import neighbour_lists
from pageann.index.builder.packing import centroids_of
from pageann.index.builder.pages import PageLinks, merge_links, write_pages
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.resident import write_reps, write_router, write_vector_codes
from pageann.index.segment_files import PAGES_FILE, REPS_FILE, ROUTER_FILE, VECTORS_FILE, Shape, codes_file
from pageann.storage.files import Files
from pageann.storage.format import PageLayout
from pageann.storage.manifest import FileEntry
from pageann.types import Metric, dtype_code

__all__ = ["PHASES", "BuiltSegment", "SegmentInput", "build_segment"]

PHASES = ("neighbours", "packing", "codes", "links", "pages")
"""Phases of :func:`build_segment`, in order."""

Done = Callable[[int, int], None]
Phase = Callable[[str], Done]
Floats = npt.NDArray[np.float32]

_SCALE_BLOCK_ROWS = 16_384
_REP_ERROR_WEIGHT = -2.0
_WALK_ERROR_WEIGHT = 0.0
_FINE_BITS = 1.5


@dataclass(frozen=True, slots=True)
class SegmentInput:
    """What a segment is built from."""

    vectors: npt.NDArray[Any]
    """(n, dim) as given."""
    navigation: Navigation
    metric: Metric
    shape: Shape
    rotate: frozenset[str]
    """Which of ``router``, ``codes`` and ``reps`` get a rotation."""
    seed: int
    threads: int
    tag: int


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    """What was written, and where every row went."""

    files: dict[str, FileEntry]
    order: npt.NDArray[np.int32]
    residual_energy: float


def page_layout(build: SegmentInput) -> PageLayout:
    """Layout of the pages that a search reads."""
    shape = build.shape
    dtype = np.dtype(np.uint8) if shape.quantised else build.vectors.dtype
    rep_code_bytes = shape.rep_bytes + 1 if shape.rep_capacity else 0
    return PageLayout(
        shape.page_bytes, shape.capacity, build.vectors.shape[1], dtype_code(dtype), shape.row_bytes,
        shape.link_capacity, shape.rep_capacity, rep_code_bytes, build.tag,
    )  # fmt: skip


def exact_layout(build: SegmentInput) -> PageLayout:
    """Layout of the file of exact vectors behind quantised pages."""
    shape = build.shape
    return PageLayout.of_vectors(
        shape.exact_page_bytes, shape.exact_capacity, build.vectors.shape[1], build.vectors.dtype,
        shape.row_bytes, build.tag,
    )  # fmt: skip


def _quantised_scale(navigation: Navigation, threads: int) -> tuple[Floats, Floats]:
    """(low, step) of 8 bits a dimension over all vectors."""
    rows, dim = navigation.array.shape
    pieces = ranges(rows, _SCALE_BLOCK_ROWS)
    lows, highs = np.empty((len(pieces), dim), np.float32), np.empty((len(pieces), dim), np.float32)

    def block(number: int) -> None:
        part = navigation.array[pieces[number][0] : pieces[number][1]]
        lows[number], highs[number] = part.min(axis=0), part.max(axis=0)

    run_pieces(block, range(len(pieces)), threads)
    low = lows.min(axis=0)
    return low, ((highs.max(axis=0) - low) / np.float32(255)).astype(np.float32)


def build_segment(build: SegmentInput, folder: Path, files: Files, phase: Phase) -> BuiltSegment:
    """Write all files of a segment but ids and calibration into ``folder``.

    ``phase(name)`` is called at the start of each of :data:`PHASES` and returns its progress call.
    """
    shape, seed, threads = build.shape, build.seed, build.threads
    neighbours, _ = neighbour_lists(build.navigation.array, seed, threads, phase("neighbours"))
    arrangement = arrange(
        build.navigation.array, neighbours, shape.group_slots, shape.capacity, seed, threads, phase("packing")
    )
    written: dict[str, FileEntry] = {}
    done = phase("codes")
    spreads = group_spreads(build.navigation, arrangement, shape.group_slots, threads)
    router = code_router(arrangement, spreads, shape.router_bytes, rotate="router" in build.rotate, seed=seed)
    rep_codes = _write_codes(build, arrangement, router.coded, folder, files, written, done)
    layout = page_layout(build)
    links = merge_links(neighbours, arrangement.order, layout, threads, phase("links"))
    done = phase("pages")
    quantised = _quantised_scale(build.navigation, threads) if shape.quantised else None

    def stored(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if quantised is None:
            return np.asarray(build.vectors[rows])
        low, step = quantised
        scaled = (build.navigation.take(rows) - low) / np.where(step > 0, step, np.float32(1))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

    order = arrangement.order
    written[PAGES_FILE] = write_pages(
        files, folder / PAGES_FILE, layout, stored, order, links, rep_codes, done
    )
    if shape.quantised:
        written[VECTORS_FILE] = write_pages(
            files, folder / VECTORS_FILE, exact_layout(build), lambda rows: build.vectors[rows], order
        )
    heat = _heat(build, order, links)
    pin_order = np.argsort(-heat, kind="stable").astype(np.int32)
    written[ROUTER_FILE] = write_router(files, folder / ROUTER_FILE, router, pin_order, quantised, build.tag)
    return BuiltSegment(written, order, arrangement.residual_energy)


def _heat(build: SegmentInput, order: npt.NDArray[np.int32], links: PageLinks) -> npt.NDArray[Any]:
    """How much each page is worth pinning: how many pages link to it; under ip, how long its vectors are."""
    if build.metric is Metric.IP:
        centroids = centroids_of(build.navigation.array, order, build.shape.capacity) - build.navigation.shift
        return np.asarray(np.einsum("ij,ij->i", centroids, centroids))
    if build.shape.link_capacity:
        return links.heat()
    return np.zeros(build.shape.page_count(len(order)), np.int64)


def error_weight(shape: Shape, role: str, code_bytes: int, dim: int) -> float:
    """What part of its coding error is taken off a vector's estimate; see :mod:`.coding`.

    Fine codes are taken at their word. Vectors that are coarsely known are better looked at later,
    and so are those known from pages while coarse estimates of all others compete with them
    (photosift1m at 10 %: 55 read units with weight 1, 46 with 0, 42 with -1, 40 with -2.5; at 1 %, where
    only centroids compete: 72 with 1, 67 with 0, 76 with -1).
    """
    if role == "reps":
        return _REP_ERROR_WEIGHT if shape.code_bytes else _WALK_ERROR_WEIGHT
    fine = shape.rep_capacity > 0 or 8 * code_bytes >= _FINE_BITS * dim
    return 1.0 if fine else -1.0


def _write_codes(
    build: SegmentInput,
    arrangement: Arrangement,
    coded_centroids: Floats,
    folder: Path,
    files: Files,
    written: dict[str, FileEntry],
    done: Done,
) -> VectorCodes | None:
    """Write every width of codes; returns those of representatives, for the pages."""
    shape = build.shape
    rep_codes = None
    widths = sorted({*shape.code_bytes, *([shape.rep_bytes] if shape.rep_bytes else [])}, reverse=True)
    for number, width in enumerate(widths):
        role = "reps" if width == shape.rep_bytes else "codes"
        codes = code_vectors(
            build.navigation,
            arrangement,
            coded_centroids,
            shape.group_slots,
            width,
            build.metric,
            error_weight=error_weight(shape, role, width, build.vectors.shape[1]),
            rotate=role in build.rotate,
            seed=build.seed,
            threads=build.threads,
        )
        if width in shape.code_bytes:
            name = codes_file(width)
            written[name] = write_vector_codes(files, folder / name, codes, shape.group_slots, build.tag)
        if width == shape.rep_bytes:
            rep_codes = codes
            written[REPS_FILE] = write_reps(files, folder / REPS_FILE, codes, build.tag)
        done(number + 1, len(widths))
    return rep_codes
