"""Read what stays in RAM from the files of a segment, and describe its pages to the kernels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import DamagedIndex
from pageann.index.kernels import state
from pageann.index.kernels.scan import LANES
from pageann.index.kernels.state import Resident
from pageann.index.segment_files import (
    PAGES_FILE,
    REPS_FILE,
    ROUTER_FILE,
    VECTORS_FILE,
    Shape,
    codes_file,
)
from pageann.storage.bundle import Bundle
from pageann.storage.format import PageLayout
from pageann.storage.io.files import OpenedFile, open_for_reading
from pageann.storage.manifest import SegmentEntry
from pageann.storage.pagefile import read_page_file_header
from pageann.storage.pages import check_pages, page_fault
from pageann.types import Metric, dtype_code

__all__ = ["LoadedSegment", "Residence", "load_segment"]

_PIN_BLOCK_BYTES = 1 << 20
_LARGEST_START_UNITS = 1024
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


def _start_level(level_units: list[int]) -> int:
    """The lowest level that is cheap to score whole."""
    for level, units in enumerate(level_units):
        if units <= _LARGEST_START_UNITS:
            return level
    return len(level_units) - 1


def _open_pages(
    folder: Path, names: list[str], entry: SegmentEntry
) -> tuple[dict[str, OpenedFile], dict[str, PageLayout]]:
    files: dict[str, OpenedFile] = {}
    layouts: dict[str, PageLayout] = {}
    try:
        for name in names:
            layout, _ = read_page_file_header(folder / name)
            if layout.tag != entry.tag:
                raise DamagedIndex(f"{folder / name}: belongs to another index", str(folder / name))
            layouts[name] = layout
            files[name] = open_for_reading(folder / name)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return files, layouts


def _read_pinned(
    file: OpenedFile, layout: PageLayout, path: Path, pages: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint8]:
    """The given pages, read in runs and checked."""
    pinned = np.empty(len(pages) * layout.page_bytes + LANES, np.uint8)
    view = memoryview(pinned)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        most = max(1, _PIN_BLOCK_BYTES // layout.page_bytes)
        first = 0
        while first < len(pages):
            last = first + 1
            while last < len(pages) and last - first < most and pages[last] == pages[last - 1] + 1:
                last += 1
            part = view[first * layout.page_bytes : last * layout.page_bytes]
            got = os.preadv(descriptor, [part], layout.page_offset(int(pages[first])))
            if got != len(part):
                raise DamagedIndex(f"{path}: page {pages[first]} is cut short", str(path), int(pages[first]))
            block = pinned[first * layout.page_bytes : last * layout.page_bytes]
            faults = np.zeros(last - first, np.int64)
            check_pages(
                block.reshape(-1, layout.page_bytes), int(pages[first]), np.uint64(layout.tag), faults
            )
            for place in np.flatnonzero(faults)[:1]:
                raise page_fault(str(path), int(pages[first + place]), int(faults[place]))
            first = last
    finally:
        os.close(descriptor)
    return pinned


_NO_BYTES = np.empty(0, np.uint8)
_NO_INTS = np.empty(0, np.int32)
_NO_FLOATS = np.empty(0, np.float32)
_NO_ROTATION = np.empty((0, 0), np.int16)
_NO_STARTS = np.zeros(1, np.int32)


def load_segment(folder: Path, entry: SegmentEntry, residence: Residence) -> LoadedSegment:
    """Open the files of a segment and read what ``residence`` asks for.

    Raises DamagedIndex, FormatTooNew or StorageError.
    """
    shape = Shape.from_json(entry.meta["shape"])
    names = [PAGES_FILE] + ([VECTORS_FILE] if shape.quantised else [])
    files, layouts = _open_pages(folder, names, entry)
    try:
        resident = _read_resident(folder, entry, shape, residence, files, layouts)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return LoadedSegment(entry, shape, residence, resident, files, layouts, folder)


def _read_resident(
    folder: Path,
    entry: SegmentEntry,
    shape: Shape,
    residence: Residence,
    files: dict[str, OpenedFile],
    layouts: dict[str, PageLayout],
) -> Resident:
    parameters = np.zeros(state.PARAMETER_COUNT, np.int64)
    scalars = np.zeros(state.SCALAR_COUNT, np.float32)
    metric = Metric.parse(entry.metric)
    parameters[state.P_DIM] = entry.dim
    parameters[state.P_METRIC] = int(metric)
    parameters[state.P_DTYPE] = dtype_code(np.dtype(entry.dtype))
    parameters[state.P_ROWS] = entry.rows
    parameters[state.P_GROUP_SLOTS] = shape.group_slots
    parameters[state.P_GROUPS] = shape.group_count(entry.rows)
    parameters[state.P_GROUP_PAGES] = shape.group_pages
    parameters[state.P_PAGE_COUNT] = shape.page_count(entry.rows)
    shifted = entry.dtype == "int8" and metric is not Metric.COSINE
    parameters[state.P_NAV_SHIFT] = 128 if shifted else 0
    arrays: dict[str, Any] = {}
    with Bundle.open(folder / ROUTER_FILE) as router:
        meta = router.meta
        units = [int(count) for count in meta["level_units"]]
        for level, (count, offset) in enumerate(zip(units, meta["level_offsets"], strict=True)):
            parameters[state.P_LEVEL_UNITS + level] = count
            parameters[state.P_LEVEL_OFFSET + level] = offset
        parameters[state.P_LEVELS] = len(units)
        parameters[state.P_START_LEVEL] = _start_level(units)
        parameters[state.P_ROUTER_BYTES] = shape.router_bytes
        weight = SPREAD_WEIGHT if residence.code_bytes == 0 and metric is not Metric.IP else 0.0
        scalars[state.S_BIAS_STEP] = weight * meta["spread_step"]
        arrays["router_codes"] = router.read("codes")
        arrays["router_rotation"] = router.read("rotation")
        arrays["router_scale"] = float(meta["scale"])
        arrays["router_starts"] = router.read("starts")
        arrays["router_words"] = router.read("words")
        pins = (
            np.sort(router.read("pin_order")[: residence.pinned_pages])
            if residence.pinned_pages
            else _NO_INTS
        )
        low = router.read("quantised_low") if shape.quantised else _NO_FLOATS
        step = router.read("quantised_step") if shape.quantised else _NO_FLOATS
    arrays["quantised_low"], arrays["quantised_step"] = low, step
    _read_codes(folder, residence.code_bytes, parameters, scalars, arrays)
    use_reps = shape.rep_bytes > 0 and shape.rep_capacity > 0 and not residence.direct_records
    _read_reps(folder, shape.rep_bytes if use_reps else 0, parameters, scalars, arrays)
    walked = VECTORS_FILE if residence.direct_records else PAGES_FILE
    _set_layout(parameters, state.P_PAGE_LAYOUT, layouts[walked], files[walked].fd)
    if shape.quantised:
        _set_layout(parameters, state.P_EXACT_LAYOUT, layouts[VECTORS_FILE], files[VECTORS_FILE].fd)
        parameters[state.P_RERANK] = parameters[state.P_QUANTISED] = int(not residence.direct_records)
    arrays["pin_index"], arrays["pinned"] = _NO_INTS, _NO_BYTES
    if len(pins):
        arrays["pin_index"] = np.full(shape.page_count(entry.rows), -1, np.int32)
        arrays["pin_index"][pins] = np.arange(len(pins), dtype=np.int32)
        arrays["pinned"] = _read_pinned(files[PAGES_FILE], layouts[PAGES_FILE], folder / PAGES_FILE, pins)
        parameters[state.P_PINNED_PAGES] = len(pins)
    return Resident(parameters=parameters, scalars=scalars, **arrays)


def _read_quantizer(bundle: Bundle, prefix: str, arrays: dict[str, Any]) -> None:
    arrays[f"{prefix}_rotation"] = bundle.read("rotation")
    arrays[f"{prefix}_scale"] = float(bundle.meta["scale"])
    arrays[f"{prefix}_starts"] = bundle.read("starts")
    arrays[f"{prefix}_words"] = bundle.read("words")


def _no_quantizer(prefix: str, arrays: dict[str, Any]) -> None:
    arrays[f"{prefix}_rotation"] = _NO_ROTATION
    arrays[f"{prefix}_scale"] = 1.0
    arrays[f"{prefix}_starts"] = _NO_STARTS
    arrays[f"{prefix}_words"] = _NO_FLOATS


def _read_codes(
    folder: Path,
    code_bytes: int,
    parameters: npt.NDArray[np.int64],
    scalars: npt.NDArray[np.float32],
    arrays: dict[str, Any],
) -> None:
    if code_bytes == 0:
        arrays["page_codes"] = _NO_BYTES
        _no_quantizer("code", arrays)
        return
    with Bundle.open(folder / codes_file(code_bytes)) as bundle:
        arrays["page_codes"] = bundle.read("codes")
        _read_quantizer(bundle, "code", arrays)
        scalars[state.S_CODE_LOW] = bundle.meta["low"]
        scalars[state.S_CODE_STEP] = bundle.meta["step"]
    parameters[state.P_CODE_BYTES] = (len(arrays["code_starts"])) // 2


def _read_reps(
    folder: Path,
    rep_bytes: int,
    parameters: npt.NDArray[np.int64],
    scalars: npt.NDArray[np.float32],
    arrays: dict[str, Any],
) -> None:
    if rep_bytes == 0:
        _no_quantizer("rep", arrays)
        return
    with Bundle.open(folder / REPS_FILE) as bundle:
        _read_quantizer(bundle, "rep", arrays)
        scalars[state.S_REP_LOW] = bundle.meta["low"]
        scalars[state.S_REP_STEP] = bundle.meta["step"]
    parameters[state.P_REP_BYTES] = len(arrays["rep_starts"]) // 2
