"""Build one segment: from vectors to the files that a search opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.arrange import Arrangement, arrange
from pageann.index.builder.both_ways import MIXED_FILES, lists_both_ways
from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.code_choice import choice_costs
from pageann.index.builder.coding import (
    RouterCodes,
    VectorCodes,
    code_router,
    code_vectors,
    error_weight,
    group_spreads,
)
from pageann.index.builder.copies import copy_order, copy_places
from pageann.index.builder.fitting import CodeChoice
from pageann.index.builder.locality import LocalCopy, copy_by_locality
from pageann.index.builder.navigation import Navigation
from pageann.index.builder.neighbours import FEW_TREES, TREES, neighbour_file
from pageann.index.builder.packing import centroids_of
from pageann.index.builder.pages import LinkMerger, PageLinks, write_pages
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.query_sample import QueryOffset, SolvedSample
from pageann.index.builder.reach import join_lost_pages
from pageann.index.builder.residency import Residency
from pageann.index.builder.resident import write_copies, write_reps, write_router, write_vector_codes
from pageann.index.code_families import Family
from pageann.index.search.entry_pages import entry_pages
from pageann.index.search.page_heat import hottest_first
from pageann.index.segment_files import (
    COPIES_FILE,
    PAGES_FILE,
    REPS_FILE,
    ROUTER_FILE,
    VECTORS_FILE,
    Shape,
    codes_file,
)
from pageann.storage.files import Files
from pageann.storage.format import PageLayout
from pageann.storage.manifest import FileEntry
from pageann.types import Metric, dtype_code

__all__ = ["PHASES", "BuiltSegment", "SegmentInput", "build_segment"]

PHASES = ("partition", "neighbours", "packing", "copies", "codes", "pages")
"""Phases of :func:`build_segment`, in order; ``copies`` only where there are any."""

Done = Callable[[int, int], None]
Phase = Callable[[str], Done]
Floats = npt.NDArray[np.float32]

_SCALE_BLOCK_BYTES = 8 << 20
_PLACES_ROW_BYTES = 16
"""What it takes to say where copies are, while that is written."""
_EDGE_FILES = ("working-links", "working-representatives")


@dataclass(frozen=True, slots=True)
class SegmentInput:
    """What a segment is built from."""

    vectors: npt.NDArray[Any]
    """(n, dim) as given."""
    metric: Metric
    shape: Shape
    rotate: frozenset[str]
    """Which of ``router``, ``codes`` and ``reps`` get a rotation."""
    seed: int
    threads: int
    tag: int
    queries: SolvedSample | None = None
    """What it is built for, unless its own vectors."""
    choices: tuple[CodeChoice, ...] = ()
    """Shapes to choose from, which differ in their codes; empty: ``shape`` it is."""


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    """What was written, and where every row went."""

    files: dict[str, FileEntry]
    order: npt.NDArray[np.int32]
    """The row in each slot."""
    residual_energy: float
    shape: Shape
    """The one that was chosen."""


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


def _quantised_scale(navigation: Navigation, threads: int, residency: Residency) -> tuple[Floats, Floats]:
    """(low, step) of 8 bits a dimension over all vectors."""
    rows, dim = navigation.array.shape
    pieces = ranges(rows, max(1, _SCALE_BLOCK_BYTES // (dim * navigation.array.itemsize)))
    lows, highs = np.empty((len(pieces), dim), np.float32), np.empty((len(pieces), dim), np.float32)

    def block(number: int) -> None:
        part = navigation.array[pieces[number][0] : pieces[number][1]]
        lows[number], highs[number] = part.min(axis=0), part.max(axis=0)
        residency.check()

    run_pieces(block, range(len(pieces)), threads)
    low = lows.min(axis=0)
    return low, ((highs.max(axis=0) - low) / np.float32(255)).astype(np.float32)


def build_segment(
    build: SegmentInput, folder: Path, files: Files, phase: Phase, store: Checkpoints
) -> BuiltSegment:
    """Write all files of a segment but ids and calibration into ``folder``.

    ``phase(name)`` is called at the start of each of :data:`PHASES` and returns its progress call.
    What ``store`` has of an earlier build is not done again.
    """
    shape, seed, threads = build.shape, build.seed, build.threads
    done = phase("partition")
    copy = copy_by_locality(build.vectors, build.metric, shape.group_slots, seed, threads, store, files, done)
    store.save_if_due()
    done = phase("neighbours")
    navigation = copy.navigation
    neighbours = neighbour_file(
        navigation.array, shape.group_slots, seed, threads, store, files, done,
        trees=TREES if shape.rep_capacity else FEW_TREES,
    )  # fmt: skip
    store.save_if_due()
    arrangement = arrange(
        navigation.array, neighbours, shape.group_slots, shape.capacity, seed, threads, phase("packing"),
        in_order=True, store=store,
    )  # fmt: skip
    copied = None
    if shape.copy_pages:
        copied = copy_order(
            navigation.array, neighbours, arrangement.order, shape, seed, threads, store, files,
            phase("copies"),
        )  # fmt: skip
    writer = _SegmentWriter(build, folder, files, store, copy, arrangement, copied)
    writer.write_codes(neighbours, phase("codes"))
    writer.write_pages(neighbours, phase("pages"))
    order = copy.rows[arrangement.order]
    return BuiltSegment(writer.written, order, arrangement.residual_energy, writer.shape)


@dataclass(frozen=True, slots=True)
class _Coding:
    """Codes of all vectors of one width: those that are resident, those that pages carry, or both at once."""

    width: int
    is_resident: bool
    is_rep: bool

    @property
    def name(self) -> str:
        return f"{'codes' if self.is_resident else 'reps'}-{self.width}"


def _codings_of(shape: Shape) -> list[_Coding]:
    """What is to be coded, the widest first."""
    both = shape.rep_bytes in shape.code_bytes and shape.code_family is Family.PQ4
    codings = [_Coding(width, True, both and width == shape.rep_bytes) for width in shape.code_bytes]
    if shape.rep_bytes and not both:
        codings.append(_Coding(shape.rep_bytes, False, True))
    return sorted(codings, key=lambda coding: -coding.width)


def _places_of(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Where each number stands."""
    places = np.empty(len(numbers), np.int64)
    places[numbers] = np.arange(len(numbers))
    return places


class _SegmentWriter:
    """Writes the files of a segment whose arrangement is known."""

    def __init__(
        self,
        build: SegmentInput,
        folder: Path,
        files: Files,
        store: Checkpoints,
        copy: LocalCopy,
        arrangement: Arrangement,
        copied: npt.NDArray[np.int32] | None,
    ) -> None:
        self.written: dict[str, FileEntry] = {}
        self._build = build
        self._folder = folder
        self._files = files
        self._store = store
        self._copy = copy
        self._arrangement = arrangement
        self._copied = copied
        self._router: RouterCodes | None = None
        self._rep_codes: VectorCodes | None = None
        self._query_offset: QueryOffset | None = None

    @property
    def shape(self) -> Shape:
        """With the codes that were chosen."""
        return self._build.shape

    def write_codes(self, neighbours: npt.NDArray[np.int32], done: Done) -> None:
        """Choose the codes, where they are open, and write every width of them."""
        self._choose_codes(neighbours)
        shape = self._build.shape
        codings = _codings_of(shape)
        steps = ["pages", *(coding.name for coding in codings)]
        if self._router is None and any(self._store.find(step) is None for step in steps):
            self._router = self._code_router()
        for number, coding in enumerate(codings):
            self._write_coding(coding)
            done(number + 1, len(codings))

    def _choose_codes(self, neighbours: npt.NDArray[np.int32]) -> None:
        choices = self._build.choices
        if len(choices) < 2:
            return
        known = self._store.find("choice")
        if known is None:
            self._router = self._code_router()
            costs = choice_costs(
                self._copy.navigation, self._arrangement, self._router.coded, neighbours, choices,
                self._build.metric, rotate="codes" in self._build.rotate, seed=self._build.seed,
                threads=self._build.threads, residency=self._store.residency,
            )  # fmt: skip
            known = self._store.finish("choice", costs.index(min(costs)))
            self._store.save_if_due()
        self._build = replace(self._build, shape=choices[known.value].shape)

    def _code_router(self) -> RouterCodes:
        build = self._build
        spreads = group_spreads(
            self._copy.navigation, self._arrangement, build.shape.group_slots, build.threads,
            self._store.residency,
        )  # fmt: skip
        rotate = "router" in build.rotate
        return code_router(
            self._arrangement,
            spreads,
            build.shape.router_bytes,
            rotate=rotate,
            seed=build.seed,
            threads=build.threads,
            residency=self._store.residency,
        )

    def _write_coding(self, coding: _Coding) -> None:
        build = self._build
        known = self._store.find(coding.name)
        # the codes of representatives are written again with the pages, from the same sample
        if known is not None and not (coding.is_rep and self._store.find("pages") is None):
            self.written.update(known.segment_files)
            return
        codes = self._code(coding)
        files: dict[str, FileEntry] = {}
        if coding.is_resident:
            name = codes_file(coding.width)
            files[name] = write_vector_codes(
                self._files, self._folder / name, codes, build.shape.group_slots, build.tag,
                self._store.residency,
            )  # fmt: skip
        if coding.is_rep:
            self._rep_codes = codes
            files[REPS_FILE] = write_reps(self._files, self._folder / REPS_FILE, codes, build.tag)
        self.written.update(files)
        self._store.finish(coding.name, None, segment_files=files)
        self._store.save_if_due()

    def _code(self, coding: _Coding) -> VectorCodes:
        build, role = self._build, "reps" if coding.is_rep else "codes"
        assert self._router is not None
        return code_vectors(
            self._copy.navigation,
            self._arrangement,
            self._router.coded,
            build.shape.group_slots,
            coding.width,
            build.metric,
            error_weight=error_weight(build.shape, role, coding.width, build.vectors.shape[1]),
            rotate=role in build.rotate,
            seed=build.seed,
            threads=build.threads,
            residency=self._store.residency,
            path=self._store.scratch / f"working-{coding.name}",
            queries=self._offset(),
            family=Family.PQ4 if coding.is_rep else build.shape.code_family,
        )

    def _offset(self) -> QueryOffset | None:
        """How the sample of queries lies to the places near it."""
        build = self._build
        if build.queries is None:
            return None
        if self._query_offset is None:
            found = build.queries.offset_to(build.vectors, build.metric)
            self._query_offset = replace(found, rows=_places_of(self._copy.rows)[found.rows])
        return self._query_offset

    def write_pages(self, neighbours: npt.NDArray[np.int32], done: Done) -> None:
        """Write the page files, and the router with the order in which pages are worth pinning."""
        known = self._store.find("pages")
        if known is None:
            known = self._store.finish("pages", None, segment_files=self._write_page_files(neighbours, done))
            self._store.save_if_due()
        self.written.update(known.segment_files)

    def _write_page_files(self, neighbours: npt.NDArray[np.int32], done: Done) -> dict[str, FileEntry]:
        build, copy, order = self._build, self._copy, self._arrangement.order
        layout, residency = page_layout(build), self._store.residency
        page_count = build.shape.page_count(len(order))
        edges = self._edges(neighbours, lambda finished, total: done(finished, 2 * total))
        heat = np.zeros(page_count, np.int64)
        quantised = (
            _quantised_scale(copy.navigation, build.threads, residency) if build.shape.quantised else None
        )

        def links(first: int, last: int) -> PageLinks:
            made = edges.part(first, last)
            heat[:] += made.heat(page_count)
            return made

        def coarse(places: npt.NDArray[Any]) -> npt.NDArray[Any]:
            assert quantised is not None
            low, step = quantised
            scaled = (copy.navigation.take(places) - low) / np.where(step > 0, step, np.float32(1))
            return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

        written: dict[str, FileEntry] = {}
        written[PAGES_FILE] = write_pages(
            self._files, self._folder / PAGES_FILE, layout, copy.stored if quantised is None else coarse,
            order, copy.rows, links, self._rep_codes,
            lambda finished, total: done(total + finished, 2 * total), residency, copied=self._copied,
        )  # fmt: skip
        if quantised is not None:
            written[VECTORS_FILE] = write_pages(
                self._files, self._folder / VECTORS_FILE, exact_layout(build), copy.stored, order, copy.rows,
                residency=residency,
            )  # fmt: skip
        if self._copied is not None:
            residency.make_room(_PLACES_ROW_BYTES * len(order))
            places = copy_places(order, self._copied, build.shape)
            written[COPIES_FILE] = write_copies(self._files, self._folder / COPIES_FILE, places, build.tag)
        pin_order = self._pin_order(heat)
        assert self._router is not None
        written[ROUTER_FILE] = write_router(
            self._files, self._folder / ROUTER_FILE, self._router, pin_order, quantised, build.tag
        )
        for name in (*_EDGE_FILES, *(MIXED_FILES if layout.rep_capacity else ())):
            self._files.unlink(self._store.scratch / name)
        return written

    def _edges(self, neighbours: npt.NDArray[np.int32], done: Done) -> PageLinks:
        """What all pages tell of others, in files of the scratch folder; every page can be reached."""
        build, order, residency = self._build, self._arrangement.order, self._store.residency
        layout, page_count = page_layout(build), build.shape.page_count(len(order))
        links, reps = (
            residency.create(self._store.scratch / name, np.int32, (page_count, width))
            for name, width in zip(_EDGE_FILES, (layout.link_capacity, layout.rep_capacity), strict=True)
        )
        edges = PageLinks(links, np.zeros(page_count, np.int32), reps, np.zeros(page_count, np.int32))
        if layout.rep_capacity:
            neighbours = lists_both_ways(neighbours, build.threads, self._store.scratch, residency)
        merger = LinkMerger(neighbours, order, layout, build.threads, residency)
        merger.merge_into(
            edges, 0, page_count, lambda finished, total: done(finished * page_count // total, page_count)
        )
        join_lost_pages(edges, layout.capacity, entry_pages(build.shape, len(order)), residency)
        return edges

    def _pin_order(self, heat: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        order = np.argsort(-self._worth(heat), kind="stable").astype(np.int32)
        build = self._build
        if build.queries is None:
            return order
        slots = _places_of(self._arrangement.order)[_places_of(self._copy.rows)]
        visits = [np.unique(slots[rows] // build.shape.capacity) for rows in build.queries.visited_rows()]
        return hottest_first(order, visits)

    def _worth(self, heat: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """What pinning each page is worth: how many pages link to it; under ip, how long its vectors are."""
        if self._build.metric is not Metric.IP:
            return heat
        navigation, capacity = self._copy.navigation, self._build.shape.capacity
        centroids = centroids_of(
            navigation.array, self._arrangement.order, capacity, self._build.threads, self._store.residency
        )
        centroids -= navigation.shift
        return np.asarray(np.einsum("ij,ij->i", centroids, centroids))
