"""Read what stays in RAM from the files of a segment, and describe its pages to the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.code_families import Family
from pageann.index.kernels import state
from pageann.index.kernels.state import Resident
from pageann.index.search.pin_order import read_pin_order
from pageann.index.search.pinned import read_pinned
from pageann.index.search.soundness import (
    check_code_length,
    check_copy_places,
    check_pages_of_shape,
    check_quantizer,
    check_rep_bytes,
    check_router,
    check_tag,
    check_vector,
    sound_fields,
)
from pageann.index.segment_files import (
    COPIES_FILE,
    PAGES_FILE,
    REPS_FILE,
    ROUTER_FILE,
    VECTORS_FILE,
    Shape,
    codes_file,
)
from pageann.storage.arrays import Take, file_key, own_array
from pageann.storage.bundle import Bundle
from pageann.storage.checksum import crc32c
from pageann.storage.format import PageLayout
from pageann.storage.io.files import OpenedFile, open_for_reading
from pageann.storage.manifest import SegmentEntry
from pageann.storage.pagefile import read_page_file_header
from pageann.types import Metric, dtype_code

__all__ = ["LoadedSegment", "Residence", "load_segment", "start_level"]

_LARGEST_START_UNITS = 1024
INT8_SHIFT = 128
"""What navigation adds to int8, so that it is uint8."""
SPREAD_WEIGHT = 0.25
"""Share of a group's mean squared residual in its rank where no codes of vectors are resident."""


@dataclass(frozen=True, slots=True)
class Residence:
    """What of a segment is held in RAM."""

    code_bytes: int
    """Width of the residual codes of all vectors; 0 for none."""
    pinned_pages: int
    direct_records: bool
    """Exact records are read straight from estimates, without the quantised pages between."""


@dataclass(slots=True)
class LoadedSegment:
    """An open segment: arrays for the kernels, and the files that they read."""

    entry: SegmentEntry
    shape: Shape
    residence: Residence
    resident: Resident
    files: dict[str, OpenedFile]
    layouts: dict[str, PageLayout]
    folder: Path

    @property
    def walked_file(self) -> str:
        """Name of the page file that searches walk."""
        return VECTORS_FILE if self.residence.direct_records else PAGES_FILE

    def path_of_layout(self, layout: int) -> Path:
        """The file whose layout stands at ``layout`` in the parameters."""
        return self.folder / (VECTORS_FILE if layout == state.P_EXACT_LAYOUT else self.walked_file)

    @property
    def direct_io(self) -> bool:
        """Whether all page files are read with O_DIRECT."""
        return all(file.direct for file in self.files.values())

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()


def _set_layout(parameters: npt.NDArray[np.int64], at: int, layout: PageLayout, fd: int) -> None:
    values = {
        state.LAYOUT_FD: fd,
        state.LAYOUT_PAGE_BYTES: layout.page_bytes,
        state.LAYOUT_CAPACITY: layout.capacity,
        state.LAYOUT_VECTOR_BYTES: layout.vector_bytes,
        state.LAYOUT_VECTORS: layout.vectors_offset,
        state.LAYOUT_ROWS: layout.rows_offset,
        state.LAYOUT_ROW_BYTES: layout.row_bytes,
        state.LAYOUT_LINKS: layout.links_offset,
        state.LAYOUT_REP_SLOTS: layout.rep_slots_offset,
        state.LAYOUT_REP_CODES: layout.rep_codes_offset,
        state.LAYOUT_REP_CAPACITY: layout.rep_capacity,
        state.LAYOUT_TAG: int(np.uint64(layout.tag).view(np.int64)),
    }
    for field, value in values.items():
        parameters[at + field] = value


def start_level(level_units: list[int]) -> int:
    """The lowest level that is cheap to score whole."""
    for level, units in enumerate(level_units):
        if units <= _LARGEST_START_UNITS:
            return level
    return len(level_units) - 1


def _open_pages(
    folder: Path, names: list[str], entry: SegmentEntry, shape: Shape
) -> tuple[dict[str, OpenedFile], dict[str, PageLayout]]:
    files: dict[str, OpenedFile] = {}
    layouts: dict[str, PageLayout] = {}
    try:
        for name in names:
            layout, page_count = read_page_file_header(folder / name)
            check_pages_of_shape(folder / name, layout, page_count, entry, shape)
            layouts[name] = layout
            files[name] = open_for_reading(folder / name)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return files, layouts


_NO_BYTES = np.empty(0, np.uint8)
_NO_INTS = np.empty(0, np.int32)
_NO_FLOATS = np.empty(0, np.float32)
_NO_ROTATION = np.empty((0, 0), np.int16)
_NO_STARTS = np.zeros(1, np.int32)


def load_segment(
    folder: Path, entry: SegmentEntry, residence: Residence, take: Take = own_array
) -> LoadedSegment:
    """Open the files of a segment and read what ``residence`` asks for into memory from ``take``.

    Raises DamagedIndex, FormatTooNew or StorageError.
    """
    with sound_fields(folder):
        shape = Shape.from_json(entry.meta["shape"])
        shape.group_count(entry.rows)
    names = [PAGES_FILE] + ([VECTORS_FILE] if shape.quantised else [])
    files, layouts = _open_pages(folder, names, entry, shape)
    try:
        resident = _Loading(folder, entry, shape, residence, files, layouts, take).read()
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return LoadedSegment(entry, shape, residence, resident, files, layouts, folder)


class _Loading:
    """A :class:`Resident` in the making."""

    def __init__(
        self,
        folder: Path,
        entry: SegmentEntry,
        shape: Shape,
        residence: Residence,
        files: dict[str, OpenedFile],
        layouts: dict[str, PageLayout],
        take: Take,
    ) -> None:
        self.take = take
        self.folder = folder
        self.entry = entry
        self.shape = shape
        self.residence = residence
        self.files = files
        self.layouts = layouts
        self.walked = VECTORS_FILE if residence.direct_records else PAGES_FILE
        self.parameters = np.zeros(state.PARAMETER_COUNT, np.int64)
        self.scalars = np.zeros(state.SCALAR_COUNT, np.float32)
        self.arrays: dict[str, Any] = {}

    def read(self) -> Resident:
        """Read all that is to be resident."""
        self._describe()
        with sound_fields(self.folder / ROUTER_FILE), Bundle.open(self.folder / ROUTER_FILE) as router:
            check_tag(router, self.entry)
            self._read_router(router)
            self._read_scale(router)
        self._read_pins()
        self._read_codes()
        self._read_reps()
        self._read_copies()
        return Resident(parameters=self.parameters, scalars=self.scalars, **self.arrays)

    def _describe(self) -> None:
        entry, shape, parameters = self.entry, self.shape, self.parameters
        metric = Metric.parse(entry.metric)
        parameters[state.P_DIM] = entry.dim
        parameters[state.P_METRIC] = int(metric)
        parameters[state.P_DTYPE] = dtype_code(np.dtype(entry.dtype))
        parameters[state.P_ROWS] = entry.rows
        parameters[state.P_GROUP_SLOTS] = shape.group_slots
        parameters[state.P_GROUPS] = shape.group_count(entry.rows)
        parameters[state.P_GROUP_PAGES] = shape.group_pages
        parameters[state.P_PAGE_COUNT] = -(-entry.rows // self.layouts[self.walked].capacity)
        shifted = entry.dtype == "int8" and metric is not Metric.COSINE
        parameters[state.P_NAV_SHIFT] = INT8_SHIFT if shifted else 0
        _set_layout(parameters, state.P_PAGE_LAYOUT, self.layouts[self.walked], self.files[self.walked].fd)
        if shape.quantised:
            exact = self.layouts[VECTORS_FILE]
            _set_layout(parameters, state.P_EXACT_LAYOUT, exact, self.files[VECTORS_FILE].fd)
            in_two_steps = int(not self.residence.direct_records)
            parameters[state.P_RERANK] = parameters[state.P_QUANTISED] = in_two_steps

    def _read_router(self, router: Bundle) -> None:
        parameters, meta = self.parameters, router.meta
        units = [int(count) for count in meta["level_units"]]
        offsets = [int(offset) for offset in meta["level_offsets"]]
        code_bytes = self._read_quantizer(router, "router")
        codes = router.read("codes", self.take)
        check_router(router.path, units, offsets, int(parameters[state.P_GROUPS]), code_bytes, codes)
        self.arrays["router_codes"] = codes
        parameters[state.P_ROUTER_BYTES] = code_bytes
        parameters[state.P_LEVELS] = len(units)
        parameters[state.P_START_LEVEL] = start_level(units)
        parameters[state.P_LEVEL_UNITS : state.P_LEVEL_UNITS + len(units)] = units
        parameters[state.P_LEVEL_OFFSET : state.P_LEVEL_OFFSET + len(units)] = offsets
        by_spread = self.residence.code_bytes == 0 and Metric.parse(self.entry.metric) is not Metric.IP
        self.scalars[state.S_BIAS_STEP] = SPREAD_WEIGHT * float(meta["spread_step"]) if by_spread else 0.0

    def _read_scale(self, router: Bundle) -> None:
        for name in ("quantised_low", "quantised_step"):
            self.arrays[name] = _NO_FLOATS
            if self.shape.quantised:
                self.arrays[name] = router.read(name, self.take)
                check_vector(router.path, name, self.arrays[name], np.float32, self.entry.dim)

    def _read_pins(self) -> None:
        self.arrays["pin_index"], self.arrays["pinned"] = _NO_INTS, _NO_BYTES
        if self.residence.pinned_pages == 0 or self.residence.direct_records:
            return
        page_count = int(self.parameters[state.P_PAGE_COUNT])
        order = read_pin_order(self.folder, self.entry, page_count)
        pins = np.unique(order[: self.residence.pinned_pages])
        self.arrays["pin_index"] = self._pin_index(pins, page_count)
        path, layout = self.folder / PAGES_FILE, self.layouts[PAGES_FILE]
        self.arrays["pinned"] = read_pinned(path, layout, self.entry.rows, pins, self.take)
        self.parameters[state.P_PINNED_PAGES] = len(pins)

    def _pin_index(self, pins: npt.NDArray[np.int32], page_count: int) -> npt.NDArray[np.int32]:
        """Where each page stands among the pinned ones, or -1."""

        def fill(data: npt.NDArray[np.uint8]) -> None:
            index = data.view(np.int32)
            index[:] = -1
            index[pins] = np.arange(len(pins), dtype=np.int32)

        key = f"{file_key(self.folder / PAGES_FILE, self.files[PAGES_FILE].fd)}:pins:{crc32c(pins):08x}"
        return self.take(key, 4 * page_count, fill).view(np.int32)

    def _read_quantizer(self, bundle: Bundle, prefix: str, family: Family = Family.PQ4) -> int:
        """Read what codes are made with; returns their bytes."""
        rotation, starts, words = (
            bundle.read("rotation", self.take),
            bundle.read("starts", self.take),
            bundle.read("words", self.take),
        )
        code_bytes = check_quantizer(bundle.path, self.entry.dim, rotation, starts, words, family)
        self.arrays[f"{prefix}_rotation"] = rotation
        self.arrays[f"{prefix}_scale"] = float(bundle.meta["scale"])
        self.arrays[f"{prefix}_starts"] = starts
        self.arrays[f"{prefix}_words"] = words
        return code_bytes

    def _no_quantizer(self, prefix: str) -> None:
        self.arrays[f"{prefix}_rotation"] = _NO_ROTATION
        self.arrays[f"{prefix}_scale"] = 1.0
        self.arrays[f"{prefix}_starts"] = _NO_STARTS
        self.arrays[f"{prefix}_words"] = _NO_FLOATS

    def _read_codes(self) -> None:
        if self.residence.code_bytes == 0:
            self.arrays["page_codes"] = _NO_BYTES
            self._no_quantizer("code")
            return
        path = self.folder / codes_file(self.residence.code_bytes)
        with sound_fields(path), Bundle.open(path) as bundle:
            check_tag(bundle, self.entry)
            family = self.shape.code_family
            code_bytes = self._read_quantizer(bundle, "code", family)
            codes = bundle.read("codes", self.take)
            slots = int(self.parameters[state.P_GROUPS] * self.parameters[state.P_GROUP_SLOTS])
            check_code_length(path, codes, slots * (code_bytes + 1))
            self.arrays["page_codes"] = codes
            self.scalars[state.S_CODE_LOW] = float(bundle.meta["low"])
            self.scalars[state.S_CODE_STEP] = float(bundle.meta["step"])
            self.scalars[state.S_CODE_ERROR] = float(bundle.meta["error"])
            if family.kind == state.KIND_FACTORED:
                self.scalars[state.S_FACTOR_LOW] = float(bundle.meta["factor_low"])
                self.scalars[state.S_FACTOR_STEP] = float(bundle.meta["factor_step"])
            self.parameters[state.P_CODE_KIND] = family.kind
        self.parameters[state.P_CODE_BYTES] = code_bytes

    def _read_reps(self) -> None:
        if self.residence.direct_records or self.shape.rep_bytes == 0 or self.shape.rep_capacity == 0:
            self._no_quantizer("rep")
            return
        path = self.folder / REPS_FILE
        with sound_fields(path), Bundle.open(path) as bundle:
            check_tag(bundle, self.entry)
            code_bytes = self._read_quantizer(bundle, "rep")
            check_rep_bytes(path, code_bytes, self.layouts[PAGES_FILE])
            self.scalars[state.S_REP_LOW] = float(bundle.meta["low"])
            self.scalars[state.S_REP_STEP] = float(bundle.meta["step"])
        self.parameters[state.P_REP_BYTES] = code_bytes

    def _read_copies(self) -> None:
        self.arrays["copy_places"] = _NO_BYTES
        if not self.residence.code_bytes or not self.shape.copy_pages:
            return
        path = self.folder / COPIES_FILE
        with sound_fields(path), Bundle.open(path) as bundle:
            check_tag(bundle, self.entry)
            places = bundle.read("places", self.take)
            check_copy_places(path, places, self.entry.rows, self.shape)
        self.arrays["copy_places"] = places
        self.parameters[state.P_COPY_BYTES] = self.shape.copy_bytes
