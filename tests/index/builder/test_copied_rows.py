"""Copies are worth their disk where the vectors are those at the boundary of pages, each on one full page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from pageann.index.builder.copies import copied_rows, copy_places
from pageann.index.builder.disk_room import DiskRoom, index_bytes, most_id_bytes
from pageann.index.builder.fitting import fitted_plan, opening_plan
from pageann.index.builder.residency import Residency
from pageann.index.search.planner import predicted_array_bytes
from pageann.index.segment_files import place_bytes
from pageann.types import Metric
from tests.reference.small_segment import build_small, small_shape

ROWS, CAPACITY = 203, 8


def test_those_with_the_fewest_neighbours_on_their_page() -> None:
    random = np.random.default_rng(4)
    order = random.permutation(ROWS).astype(np.int32)
    neighbours = random.integers(-1, ROWS, (ROWS, 20)).astype(np.int32)
    page = np.empty(ROWS, np.int64)
    page[order] = np.arange(ROWS) // CAPACITY
    near = neighbours[:, :16]
    shared = ((near >= 0) & (page[near] == page[:, None])).sum(axis=1)
    shape = small_shape(8, capacity=CAPACITY, copy_pages=12)
    found = copied_rows(neighbours, order, shape, 0, Residency(1 << 30))
    assert len(found) == len(set(found.tolist())) == 12 * CAPACITY
    others = np.setdiff1d(np.arange(ROWS), found)
    assert shared[found].max() <= shared[others].min()
    again = copied_rows(neighbours, order, shape, 1, Residency(1 << 30))
    assert set(again.tolist()) != set(found.tolist()), "chance decides among equals"


@pytest.mark.parametrize(
    ("pages", "width"), [(0, 0), (1, 2), (65_535, 2), (65_536, 3), (2**24 - 1, 3), (2**24, 4)]
)
def test_places_are_as_narrow_as_they_may_be(pages: int, width: int) -> None:
    assert place_bytes(pages) == width


def test_places_lead_from_slots_to_pages() -> None:
    shape = small_shape(8, capacity=2, copy_pages=2)
    order = np.array([4, 0, 3, 1, 2], np.int32)
    places = copy_places(order, np.array([3, 4, 2, 0], np.int32), shape)
    assert places.view("<u2")[:, 0].tolist() == [1, 2, 1, 0, 2]


def test_threads_change_nothing(tmp_path: Path) -> None:
    vectors, _ = clustered(3000, 12, dtype="uint8", queries=1, seed=6)
    shape = small_shape(12, capacity=8, copy_pages=200)
    contents = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        build_small(folder, vectors, Metric.L2, shape, threads=threads)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
    assert contents[0] == contents[1]
    assert "copies.bin" in contents[0]


@pytest.mark.parametrize(("rows", "dim", "dtype"), [(30_000, 24, "uint8"), (200_000, 16, "float32")])
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_what_disk_is_left_pays_for_copies(rows: int, dim: int, dtype: str, share: float) -> None:
    facts = rows, dim, np.dtype(dtype), Metric.L2
    raw = rows * dim * facts[2].itemsize
    id_bytes = most_id_bytes(None, rows)
    before = None
    for times in (2.8, 3.5, 9.0):
        room = DiskRoom(int(times * raw), id_bytes)
        plan = fitted_plan(*facts, int(share * raw), None, room)
        size = index_bytes(plan.shape, rows, dim, plan.rotate, id_bytes)
        assert size <= room.bytes
        if plan.shape.copy_pages:
            opened = opening_plan(*facts, plan, int(share * raw))
            assert "copies" in {item.name for item in opened.ledger.items}
            full = rows // plan.shape.capacity
            assert plan.shape.copy_pages == full or size > room.bytes - 2 * plan.shape.page_bytes - 2 * rows
        before = plan
    assert before is not None
    assert before.shape.copy_pages == rows // before.shape.capacity, "more is of no use"


def test_where_nothing_is_read_nothing_is_copied() -> None:
    facts = 30_000, 24, np.dtype(np.uint8), Metric.L2
    room = DiskRoom(9 * 30_000 * 24, most_id_bytes(None, 30_000))
    assert fitted_plan(*facts, 3 * 30_000 * 24, None, room).shape.copy_pages == 0


def test_the_last_bytes_of_an_allowance_are_no_trap() -> None:
    """Whatever is left when pages of copies are full, the index that was planned fits."""
    facts = 20_000, 32, np.dtype(np.float32), Metric.L2
    id_bytes = most_id_bytes(None, 20_000)
    memory = int(0.3 * 20_000 * 128)
    plan = fitted_plan(*facts, memory, None, DiskRoom(2 * 20_000 * 128, id_bytes))
    size = index_bytes(plan.shape, 20_000, 32, plan.rotate, id_bytes)
    for spare in (*range(-9, 10), 4080, 4095):
        room = DiskRoom(size + spare, id_bytes)
        found = fitted_plan(*facts, memory, None, room)
        assert index_bytes(found.shape, 20_000, 32, found.rotate, id_bytes) <= room.bytes
        assert found.shape.copy_pages == plan.shape.copy_pages - (spare < 0)


def test_an_order_of_pins_that_comes_later_has_its_place() -> None:
    rows = 10_000_000
    shape = small_shape(128, capacity=30, code_bytes=(30,))
    pages = -(-rows // 30)
    arrays = predicted_array_bytes(shape, rows, 128, frozenset())
    built = (1 + pages) * 4096 + arrays["router"] + 4 * pages + arrays["codes"]["30"]
    assert index_bytes(shape, rows, 128, frozenset(), 0) - built >= 4 * pages
