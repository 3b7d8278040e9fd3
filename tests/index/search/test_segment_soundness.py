"""A sound file of a faulty writer is refused at opening: kernels index by what it says, unchecked.

Files are written anew with right checksums, so nothing but these checks stands in the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex, FormatTooNew
from pageann.index.search.load import Residence, load_segment
from pageann.index.segment_files import COPIES_FILE, PAGES_FILE, REPS_FILE, ROUTER_FILE, codes_file
from pageann.storage.bundle import Bundle, BundleWriter
from pageann.storage.files import OsFiles
from pageann.storage.format import REP_COUNT_OFFSET
from pageann.storage.pages import seal_pages
from tests.index.search.engines import Sample

Arrays = dict[str, NDArray[Any]]
CODES_FILE = codes_file(8)


def rewrite(path: Path, change: Callable[[dict[str, Any], Arrays], None]) -> None:
    """Write a bundle again with other contents."""
    with Bundle.open(path) as bundle:
        meta, arrays = dict(bundle.meta), {name: bundle.read(name) for name in bundle.names()}
    change(meta, arrays)
    with BundleWriter(OsFiles(), path, meta) as writer:
        for name, array in arrays.items():
            writer.write(name, array)
        writer.close()


def copied(sample: Sample, folder: Path) -> Path:
    """A copy of the sample's files."""
    return Path(shutil.copytree(sample.small.folder, folder / "copy"))


def refuses(sample: Sample, folder: Path, file: str) -> None:
    """Opening ``folder`` names ``file`` as damaged."""
    with pytest.raises(DamagedIndex, match="restore a copy of the index or build it again") as caught:
        sample.load(folder)
    assert caught.value.file == str(folder / file)


def shorter(name: str, count: int = 1) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        arrays[name] = arrays[name][:-count].copy()

    return change


def retyped(name: str, dtype: str) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        arrays[name] = arrays[name].astype(dtype)

    return change


def with_meta(name: str, value: Any) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        meta[name] = value

    return change


def without_meta(name: str) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        del meta[name]

    return change


def with_start(place: int, value: int) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        arrays["starts"][place] = value

    return change


QUANTISER = {
    "words short": shorter("words"),
    "words of another type": retyped("words", "float64"),
    "starts short": shorter("starts"),
    "starts of another type": retyped("starts", "int64"),
    "starts beyond the dimensions": with_start(3, 1000),
    "starts below zero": with_start(3, -5),
    "starts late": with_start(0, 1),
    "rotation cut": shorter("rotation"),
    "rotation of another type": retyped("rotation", "float32"),
    "no scale": without_meta("scale"),
}
ROUTER = {
    **QUANTISER,
    "codes short": shorter("codes"),
    "codes of another type": retyped("codes", "int8"),
    "too many units": with_meta("level_units", [45, 2]),
    "too few units": with_meta("level_units", [43, 2]),
    "levels that do not rise": with_meta("level_units", [44, 44]),
    "no level": with_meta("level_units", []),
    "a level elsewhere": with_meta("level_offsets", [64, 1024]),
    "units that are no list": with_meta("level_units", 44),
    "no units": without_meta("level_units"),
}
CODES = {
    **QUANTISER,
    "codes short": shorter("codes"),
    "no low": without_meta("low"),
    "step is text": with_meta("step", []),
}


@pytest.mark.parametrize("what", ROUTER)
def test_a_router_that_contradicts_itself(codes: Sample, tmp_path: Path, what: str) -> None:
    folder = copied(codes, tmp_path)
    rewrite(folder / ROUTER_FILE, ROUTER[what])
    refuses(codes, folder, ROUTER_FILE)


@pytest.mark.parametrize("what", CODES)
def test_codes_that_are_not_those_of_the_vectors(codes: Sample, tmp_path: Path, what: str) -> None:
    folder = copied(codes, tmp_path)
    rewrite(folder / CODES_FILE, CODES[what])
    refuses(codes, folder, CODES_FILE)


@pytest.mark.parametrize("what", QUANTISER)
def test_a_quantiser_of_representatives_that_does_not_fit(
    sample_of: Callable[[str], Sample], tmp_path: Path, what: str
) -> None:
    walk = sample_of("walk")
    folder = copied(walk, tmp_path)
    rewrite(folder / REPS_FILE, QUANTISER[what])
    refuses(walk, folder, REPS_FILE)


@pytest.mark.parametrize("name", ["quantised_low", "quantised_step"])
def test_a_scale_of_too_few_dimensions(two_steps: Sample, tmp_path: Path, name: str) -> None:
    folder = copied(two_steps, tmp_path)
    rewrite(folder / ROUTER_FILE, shorter(name))
    refuses(two_steps, folder, ROUTER_FILE)


def with_place(value: int) -> Callable[[dict[str, Any], Arrays], None]:
    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        arrays["places"][2 * 9 : 2 * 10] = np.array([value], "<u2").view(np.uint8)

    return change


COPIES = {
    "one place short": shorter("places", 2),
    "places of another type": retyped("places", "int8"),
    "a page behind the last": with_place(31),
    "of another index": with_meta("tag", "0" * 16),
}


@pytest.mark.parametrize("what", COPIES)
def test_copies_that_lead_elsewhere(sample_of: Callable[[str], Sample], tmp_path: Path, what: str) -> None:
    copies = sample_of("copies")
    folder = copied(copies, tmp_path)
    rewrite(folder / COPIES_FILE, COPIES[what])
    refuses(copies, folder, COPIES_FILE)


@pytest.mark.parametrize("page", [-1, 44, 2**30])
def test_pinning_pages_that_do_not_exist(
    sample_of: Callable[[str], Sample], tmp_path: Path, page: int
) -> None:
    pinned = sample_of("pinned")
    folder = copied(pinned, tmp_path)

    def change(meta: dict[str, Any], arrays: Arrays) -> None:
        arrays["pin_order"][2] = page

    rewrite(folder / ROUTER_FILE, change)
    refuses(pinned, folder, ROUTER_FILE)


def change_page(folder: Path, sample: Sample, page: int, offset: int, *, sealed: bool) -> None:
    """Change two bytes of a page."""
    segment = sample.load(folder)
    layout = segment.layouts[PAGES_FILE]
    segment.close()
    with (folder / PAGES_FILE).open("r+b") as file:
        file.seek(layout.page_offset(page))
        block = np.frombuffer(bytearray(file.read(layout.page_bytes)), np.uint8).reshape(1, -1)
        block[0, offset : offset + 2] ^= 255
        if sealed:
            seal_pages(block, page, np.uint64(layout.tag))
        file.seek(layout.page_offset(page))
        file.write(block.tobytes())


@pytest.mark.parametrize(("offset", "sealed"), [(100, False), (REP_COUNT_OFFSET, True)])
def test_a_pinned_page_is_checked_as_one_that_is_read(
    sample_of: Callable[[str], Sample], tmp_path: Path, offset: int, sealed: bool
) -> None:
    pinned = sample_of("pinned")
    folder = copied(pinned, tmp_path)
    with Bundle.open(folder / ROUTER_FILE) as router:
        page = int(router.read("pin_order")[5])
    change_page(folder, pinned, page, offset, sealed=sealed)
    with pytest.raises(DamagedIndex, match=f"page {page} is damaged") as caught:
        pinned.load(folder)
    assert (caught.value.file, caught.value.page) == (str(folder / PAGES_FILE), page)


def test_a_shape_with_more_to_it_is_of_a_newer_version(codes: Sample) -> None:
    entry = codes.small.entry
    meta = {**entry.meta, "shape": {**entry.meta["shape"], "mirrored": True}}
    with pytest.raises(FormatTooNew, match="mirrored needs a newer PageANN; upgrade to read it"):
        load_segment(codes.small.folder, replace(entry, meta=meta), codes.kind.residence)


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity": 15}, {"capacity": 0}, {"group_pages": 0}, {"group_pages": 2}, {"page_bytes": 8192},
        {"page_bytes": 1}, {"row_bytes": 8}, {"rep_capacity": 3}, {"link_capacity": 1},
        {"copy_pages": 1}, {"copy_pages": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_tells_of_other_pages(codes: Sample, changes: dict[str, int]) -> None:
    entry = codes.small.entry
    meta = {**entry.meta, "shape": {**entry.meta["shape"], **changes}}
    with pytest.raises(DamagedIndex):
        load_segment(codes.small.folder, replace(entry, meta=meta), codes.kind.residence)


@pytest.mark.parametrize("shape", [{}, {"page_bytes": 4096}, None, {"capacity": "many"}])
def test_a_shape_that_is_none(codes: Sample, shape: Any) -> None:
    entry = replace(codes.small.entry, meta={"shape": shape})
    with pytest.raises(DamagedIndex):
        load_segment(codes.small.folder, entry, Residence(0, 0, False))


@pytest.mark.parametrize(
    "changes", [{"rows": 720}, {"rows": 680}, {"dim": 15}, {"dtype": "int8"}, {"tag": 3}], ids=str
)
def test_an_entry_of_another_segment(codes: Sample, changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedIndex):
        load_segment(codes.small.folder, replace(codes.small.entry, **changes), codes.kind.residence)
