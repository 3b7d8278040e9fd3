"""A format that only one program can read holds its users' vectors hostage.

The second reader of segments (``tests/reference/segment_reader.py``) is written from ``docs/FORMAT.md``
alone. On indexes that were built it must find the same vectors, rows, ids and estimates as the package.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_distances
from pageann.index.ids_file import ID_PAYLOAD_BYTES, KEYS_OF_PAGE, IdKind, IdLayout
from pageann.index.kernels import state
from pageann.index.kernels.candidates import offer_representatives, scan_pages
from pageann.index.kernels.query import load_query
from pageann.index.kernels.route import route_query
from pageann.index.search.effort import Calibration, CurvePoint
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.tuning import Tuning
from pageann.index.segment_files import Shape
from pageann.storage.directory import IndexDirectory
from pageann.storage.manifest import SegmentEntry
from pageann.types import Metric
from tests.reference.format_reader import read_index
from tests.reference.segment_reader import Coded, Segment, read_segment
from tests.reference.small_segment import build_small, small_shape, workspace_for

DOCUMENT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text("utf-8")
SLOT = 1


@dataclass
class Built:
    """An index, what it was built from, and what the second reader makes of it."""

    path: Path
    base: NDArray[Any]
    queries: NDArray[Any]
    ids: list[int] | list[str]
    entry: SegmentEntry
    segment: Segment


def build(
    path: Path,
    rows: int,
    dim: int,
    dtype: str,
    metric: str,
    memory: str,
    ids: Any,
    disk: str | None = None,
    codes: str = "pq4",
) -> Built:
    base, queries = clustered(rows, dim, dtype=dtype, queries=3, seed=5, clusters=20)
    pageann.build(base, path, metric=metric, memory=memory, ids=ids, disk=disk, codes=codes, threads=1)
    found = read_index(path)
    entry = IndexDirectory(path).current().segments[0]
    files = {name.split("/")[1]: data for name, data in found.files.items()}
    return Built(path, base, queries, ids, entry, read_segment(found.manifest["segments"][0], files))


@pytest.fixture(scope="module", params=["plain", "copies", "two-tier"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Full pages; those with copies of vectors behind them; quantised pages with the vectors apart."""
    path = tmp_path_factory.mktemp("segment") / "index"
    shuffled = np.random.default_rng(3).permutation(700)
    if request.param == "plain":
        numbers = [int(number) * 10**12 - 5 for number in shuffled]
        return build(path, 700, 24, "uint8", "l2", "1MiB", numbers)
    if request.param == "copies":
        return build(path, 3000, 24, "uint8", "l2", "100KiB", list(range(10, 3010)), "6x")
    texts = [f"photo-{number}-{'é' * (number % 3)}" for number in shuffled[:300]]
    return build(path, 300, 520, "float32", "cosine", "60%", texts)


def test_vectors_are_found_by_row(built: Built) -> None:
    found = built.segment.vectors()
    assert found.dtype == built.base.dtype
    assert found.tobytes() == built.base.tobytes()
    with pageann.open(built.path) as index:
        assert index.get(built.ids).tobytes() == found.tobytes()


def test_rows_and_slots_lead_to_each_other(built: Built) -> None:
    rows = built.segment.rows_of_slots()
    assert (built.segment.slots_of_rows()[rows] == np.arange(len(rows))).all()


def test_ids_are_found_by_row_and_rows_by_id(built: Built) -> None:
    assert built.segment.ids() == built.ids
    for row in (0, 1, 57, len(built.ids) - 1):
        assert built.segment.row_of_id(built.ids[row]) == row
    assert built.segment.row_of_id("photo" if isinstance(built.ids[0], str) else 7) == -1


def test_copies_are_the_vectors_that_their_places_say(built: Built) -> None:
    segment = built.segment
    rows, capacity = segment.rows_of_slots(), segment.shape["capacity"]
    assert len(segment.copies) == segment.shape.get("copy_pages", 0)
    held = {}
    for number, page in enumerate(segment.copies):
        assert len(page.rows) == capacity, "pages of copies are full"
        assert not len(page.links)
        assert page.vectors.tobytes() == built.base[page.rows].tobytes()
        held |= dict.fromkeys(page.rows.tolist(), number)
    assert len(held) == len(segment.copies) * capacity, "no row is copied twice"
    assert [held.get(row, -1) for row in rows.tolist()] == segment.copy_of_slot.tolist()


def test_quantised_pages_stand_for_their_vectors(built: Built) -> None:
    """Within half a step of each element, of vectors of unit length."""
    if not built.segment.shape["quantised"]:
        assert built.segment.exact is built.segment.pages
        return
    wide = built.base.astype(np.float64)[built.segment.rows_of_slots()]
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    step = built.segment.router.arrays["quantised_step"]
    assert (np.abs(built.segment.quantised() - wide) <= 0.501 * step + 1e-6).all()


def estimates_of_package(
    segment: LoadedSegment, query: NDArray[Any], page: NDArray[np.uint8] | None = None
) -> dict[int, float]:
    """Slot -> estimate, of all vectors, or of those that ``page`` represents."""
    rows = int(segment.resident.parameters[state.P_ROWS])
    workspace = workspace_for(segment, effort=rows)
    try:
        load_query(segment.resident, workspace.work, SLOT, query.astype(np.float32))
        if page is None:
            route_query(segment.resident, workspace.work, SLOT)
            scan_pages(segment.resident, workspace.work, SLOT)
        else:
            readable = np.concatenate([page, np.zeros(32, np.uint8)])
            offer_representatives(segment.resident, workspace.work, SLOT, readable.ctypes.data)
        count = int(workspace.work.counters[SLOT, state.N_POOL])
        slots = workspace.work.pool_slots[SLOT, :count].tolist()
        scores = workspace.work.pool_scores[SLOT, :count].tolist()
    finally:
        workspace.close()
    return dict(zip(slots, scores, strict=True))


def compare_estimates(
    built: Segment, coded: Coded, query: NDArray[Any], slots: list[int], ours: Any, found: dict[int, float]
) -> None:
    """Equal but for the rounding of tables and of float32."""
    assert sorted(found) == sorted(slots)
    theirs = np.array([found[slot] for slot in slots])
    bound = built.rounding(query, coded) + 1e-5 * float(np.abs(ours).max())
    assert np.abs(theirs - ours).max() <= bound
    assert float(np.std(ours)) > 5 * float(np.std(theirs - ours)), "the bound is not what makes them agree"


def test_estimates_are_those_of_the_formula(built: Built) -> None:
    slots = list(range(built.entry.rows))
    for width, coded in built.segment.codes.items():
        segment = load_segment(built.path / built.entry.name, built.entry, Residence(width, 0, False))
        try:
            for query in built.queries:
                ours = built.segment.estimates(query, width)
                found = estimates_of_package(segment, query)
                compare_estimates(built.segment, coded, query, slots, ours, found)
        finally:
            segment.close()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize(
    ("codes", "memory"), [("pq8", "120KiB"), ("rabitq", "78KiB"), ("rabitq", "90KiB"), ("sq8", "160KiB")]
)
def test_estimates_of_other_families(tmp_path: Path, codes: str, memory: str, metric: str) -> None:
    """RaBitQ with one piece of bits, and with two."""
    built = build(tmp_path / "index", 2000, 26, "uint8", metric, memory, list(range(2000)), codes=codes)
    assert built.segment.shape["code_family"] == codes
    pieces = {coded.arrays["starts"][-1] // 26 for coded in built.segment.codes.values()}
    assert max(pieces) == (2 if codes == "sq8" or memory == "90KiB" else 1)
    test_estimates_are_those_of_the_formula(built)


@dataclass
class Walked:
    """A segment whose pages represent others, in groups of two pages."""

    vectors: NDArray[Any]
    queries: NDArray[Any]
    entry: SegmentEntry
    folder: Path
    segment: Segment


@pytest.fixture(
    scope="module", params=[("int8", "l2"), ("int8", "ip"), ("float16", "ip"), ("float32", "cosine")]
)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    dtype, metric = request.param
    vectors, queries = clustered(803, 11, dtype=dtype, queries=3, seed=8, clusters=30, intrinsic_dim=5)
    shape = small_shape(11, group_pages=2, rep_bytes=5, rep_capacity=40, link_capacity=3)
    small = build_small(tmp_path_factory.mktemp("walk") / "s", vectors, Metric.parse(metric), shape)
    files = {path.name: path.read_bytes() for path in small.folder.iterdir() if path.suffix == ".bin"}
    segment = read_segment(small.entry.to_json(), files)
    return Walked(vectors, queries, small.entry, small.folder, segment)


def test_representatives_are_estimated_by_the_formula(walked: Walked) -> None:
    assert walked.segment.reps is not None
    content = (walked.folder / "pages.bin").read_bytes()
    segment = load_segment(walked.folder, walked.entry, Residence(0, 0, False))
    try:
        pages = walked.segment.pages.pages
        fullest = sorted(range(len(pages)), key=lambda number: len(pages[number].slots))[-3:]
        assert len(pages[fullest[-1]].slots) > 32, "more than one chunk"
        for number in (*fullest, len(pages) - 1):
            page = pages[number]
            ours = walked.segment.estimates_of_representatives(walked.queries[0], page)
            data = np.frombuffer(content[(number + 1) * 4096 : (number + 2) * 4096], np.uint8)
            found = estimates_of_package(segment, walked.queries[0], data)
            slots = page.slots.tolist()
            compare_estimates(walked.segment, walked.segment.reps, walked.queries[0], slots, ours, found)
    finally:
        segment.close()


def test_estimates_are_near_the_distances(walked: Walked) -> None:
    """So the page's words on navigation space, shift and scores lead to distances of the metric."""
    metric = Metric.parse(walked.entry.metric)
    stored = walked.vectors[walked.segment.rows_of_slots()]
    for query in walked.queries:
        estimated = walked.segment.distances_of_scores(query, walked.segment.estimates(query, 4))
        true = exact_distances(stored, query, metric)
        assert np.corrcoef(estimated, true)[0, 1] > 0.95
        assert abs(float(np.mean(estimated - true))) < 0.5 * float(np.std(true))


def test_units_of_the_router_are_means_of_those_below(walked: Walked) -> None:
    meta = walked.segment.router.meta
    assert meta["level_units"] == [101, 4]
    groups, spreads = walked.segment.units(0)
    above, none = walked.segment.units(1)
    assert not none.any()
    means = np.array([groups[first : first + 32].mean(axis=0) for first in range(0, 101, 32)])
    apart = np.square(above[:, None] - means).sum(axis=2)
    assert (apart.argmin(axis=1) == np.arange(4)).all()
    assert np.diagonal(apart).sum() < 0.1 * (apart.sum() - np.diagonal(apart).sum()) / 3
    wide = walked.vectors[walked.segment.rows_of_slots()].astype(np.float64)
    if walked.entry.metric == "cosine":
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    for group in (0, 50, 99):
        rows = wide[8 * group : 8 * group + 8]
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        assert abs(spread - spreads[group]) <= 0.51 * meta["spread_step"]


def keys_of_table(heading: str) -> set[str]:
    """What stands in the first column of the first table behind a line of the document."""
    table = DOCUMENT.split(heading, 1)[1].split("|---|---|\n", 1)[1].split("\n\n", 1)[0]
    return {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def test_the_document_names_the_fields_of_the_code() -> None:
    assert keys_of_table("`shape`:\n") == {field.name for field in dataclasses.fields(Shape)}
    assert keys_of_table("### ids.bin") == {field.name for field in dataclasses.fields(IdLayout)}
    assert keys_of_table("### calibration.json") == set(Calibration(0, 0, {}, ()).to_json())
    last = DOCUMENT.split("### calibration.json", 1)[1].split("\n## ", 1)[0]
    for kind in (Tuning, CurvePoint):
        assert {field.name for field in dataclasses.fields(kind)} <= set(re.findall(r"`(\w+)`", last))
    assert all(f"`{kind.value}`" in DOCUMENT for kind in IdKind)
    assert f"at a multiple of {ID_PAYLOAD_BYTES} bytes" in DOCUMENT
    assert f"every {KEYS_OF_PAGE}th key; the last level has {KEYS_OF_PAGE} at most" in DOCUMENT


def test_what_else_an_index_says_of_itself(built: Built) -> None:
    manifest = read_index(built.path).manifest
    allowance = {"disk_bytes"} if built.segment.copies else set()
    assert set(manifest["options"]) == keys_of_options() | allowance | {"codes"}
    assert set(manifest["segments"][0]["meta"]) == {"shape", "ids", "arrays"}
    assert built.segment.calibration["version"] == 1
    assert set(built.segment.calibration["tunings"]) == {"0", *map(str, built.segment.codes)}


def keys_of_options() -> set[str]:
    """The options that the document names."""
    text = DOCUMENT.split("The `options` of the manifest are", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"`(\w+)`", text))
