"""A disk allowance is kept by every index, and what is left of it saves reads and breaks nothing.

Guarded: an index larger than it was allowed to be; copies that are searched, exported, counted or examined as
if they were further vectors; damage to them that goes unnoticed; a mistake that is not answered in one line.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pageann
from pageann.datasets.source import open_vectors
from pageann.datasets.synthetic import clustered
from pageann.plan import plan_build
from pageann.types import parse_bytes
from tests.library.brute import measured

ROWS, DIM = 6000, 32
BASE, QUERIES = clustered(ROWS, DIM, queries=100, clusters=6, intrinsic_dim=12, seed=11)
MEMORY = "35%"
"""Room for codes, and for some pages."""
DISK = "2.6x"


def index_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copies") / "index"
    pageann.build(BASE, path, memory=MEMORY, disk=DISK, threads=2)
    return path


@pytest.fixture
def path(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def ids_of(kind: str) -> Any:
    if kind == "rows":
        return None
    if kind == "numbers":
        return np.arange(ROWS) * 7 - 10**15
    return [f"{'long ' * (number % 9)}name {number} é" for number in range(ROWS)]


@pytest.mark.parametrize("kind", ["rows", "numbers", "strings"])
@pytest.mark.parametrize("times", [2.2, 2.6, 3.5])
def test_no_index_is_larger_than_allowed(tmp_path: Path, kind: str, times: float) -> None:
    allowed = int(times * BASE.nbytes)
    disk = allowed if times > 3 else f"{times}x"
    report = pageann.build(BASE, tmp_path / "index", memory=MEMORY, disk=disk, ids=ids_of(kind), threads=2)
    assert report.index_bytes < index_bytes(tmp_path / "index") <= allowed
    assert report.predicted is not None
    assert report.index_bytes <= report.predicted.index_bytes <= allowed, "ids are foreseen too"
    assert report.index_bytes > min(allowed, 2.3 * BASE.nbytes) - 0.12 * BASE.nbytes, "and makes use of it"


def test_an_allowance_that_is_too_small_names_one_that_works(tmp_path: Path) -> None:
    with pytest.raises(
        pageann.InvalidArgument, match=r"disk=.* is too small for this index; it takes"
    ) as caught:
        pageann.build(BASE, tmp_path / "index", memory=MEMORY, disk="1x", threads=2)
    assert not (tmp_path / "index").exists()
    least = int(str(caught.value).split("up to ")[1].split()[0])
    report = pageann.build(BASE, tmp_path / "index", memory=MEMORY, disk=least, threads=2)
    assert report.index_bytes <= least
    assert not (tmp_path / "index" / "seg-000001" / "copies.bin").exists()


@pytest.mark.parametrize("wrong", ["2.5 times", "0x", "-3GB", ""])
def test_an_allowance_that_is_no_size(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(pageann.InvalidArgument, match="disk="):
        pageann.build(BASE, tmp_path / "index", disk=wrong)


def test_a_multiple_is_of_the_vectors() -> None:
    with pytest.raises(pageann.InvalidArgument, match=r"disk='2.5 times': unknown unit 'times'; .* % or x$"):
        parse_bytes("2.5 times", option="disk")
    assert parse_bytes("2.5x", option="disk").resolve(1000) == 2500
    assert parse_bytes("250%", option="disk").resolve(1000) == 2500


def test_what_is_spent_on_copies_is_said(built: Path) -> None:
    with pageann.open(built, threads=2) as index:
        found = index.describe()
        item = next(item for item in index.ledger.items if item.name == "copies")
    layout = found["layout"]
    copied = layout["copy_pages"] * layout["capacity"]
    assert item.bytes == 2 * ROWS + 4
    assert f"{copied / ROWS:.0%} of them" in item.note
    assert found["resident"]["copies"] is True
    assert found["options"]["disk_bytes"] == int(2.6 * BASE.nbytes)
    assert found["files"]["pages.bin"] == (1 + layout["page_count"] + layout["copy_pages"]) * 4096
    plan = plan_build(BASE, memory=MEMORY, disk=DISK, threads=2)
    assert "copies" in {item.name for item in plan.ledger.items}
    assert plan.index_bytes >= found["index_bytes"]


def test_less_memory_has_narrower_codes_and_copies_still(built: Path) -> None:
    """So that the recall of an effort is what was measured: with copies."""
    seen = set()
    for percent in range(35, 4, -2):
        try:
            index = pageann.open(built, memory=f"{percent}%", threads=2)
        except pageann.BudgetTooSmall:
            break
        with index:
            resident = index.describe()["resident"]
            assert index.ledger.total <= index.ledger.budget_bytes
            assert resident["copies"] == ("copies" in {item.name for item in index.ledger.items})
            assert resident["copies"] == (resident["code_bytes"] > 0)
            seen.add(resident["code_bytes"])
            exact = index.search(QUERIES, 10, exact=True)
            asked = index.search(QUERIES, 10, recall=0.95)
        assert (asked.distances <= exact.distances[:, -1:] + 1e-6).mean() > 0.93
    assert len(seen) >= 3


@pytest.mark.parametrize("effort", [3, 20])
def test_answers_do_not_depend_on_what_is_pinned(built: Path, effort: int) -> None:
    found, pinned = [], set()
    for memory in (MEMORY, "60%", "100%"):
        with pageann.open(built, memory=memory, threads=2) as index:
            pinned.add(index.describe()["resident"]["pinned_pages"])
            found.append(index.search(QUERIES, 10, effort=effort))
    assert len(pinned) == 3
    for other in found[1:]:
        np.testing.assert_array_equal(other.ids, found[0].ids)


def test_copies_are_no_further_vectors(built: Path, tmp_path: Path) -> None:
    with pageann.open(built, threads=2) as index:
        assert len(index) == ROWS
        np.testing.assert_array_equal(index.get(np.arange(ROWS)), BASE)
        index.export(tmp_path / "out.npy")
        exact = index.search(BASE[:50], 10, exact=True)
        health = index.doctor()
    with pageann.open(built, memory="400%", threads=2) as index:
        everything = index.search(BASE[:3], ROWS, effort=ROWS)
    np.testing.assert_array_equal(open_vectors(tmp_path / "out.npy").mapped(None), BASE)
    assert all(len(set(row)) == 10 for row in exact.ids.tolist())
    assert all(sorted(row) == list(range(ROWS)) for row in everything.ids.tolist())
    assert health.graph.pages == health.graph.reached_pages == -(-ROWS // 30)
    assert health.data.duplicate_rows == ROWS - len(np.unique(BASE, axis=0))


@pytest.mark.parametrize("memory", [MEMORY, "80%"])
def test_a_query_over_copies_is_explained(built: Path, memory: str) -> None:
    """Also where pages are pinned, which are not asked for because they are."""
    with pageann.open(built, memory=memory, threads=2) as index:
        own_pages = index.describe()["layout"]["page_count"]
        seen = 0
        for query in QUERIES:
            told = index.explain(query, 10, truth=bool(seen < 20))
            found = index.search(query[None], 10)
            assert list(told.ids) == found.ids[0].tolist()
            seen += sum(page.page >= own_pages for each in told.rounds for page in each.pages)
    assert seen > 0


def test_pages_of_copies_are_never_pinned_and_their_reads_are_counted(path: Path) -> None:
    log = np.repeat(QUERIES[:30], 10, axis=0)
    found = []
    for _ in range(2):
        with pageann.open(path, memory="60%", threads=2) as index:
            found.append(index.search(log, 10))
        if len(found) == 1:
            report = pageann.optimize(path, log, memory="60%", threads=2)
            assert index_bytes(path) <= int(2.6 * BASE.nbytes)
    assert report.published
    before, after = (measured(each).reads.mean() for each in found)
    assert report.reads_before == pytest.approx(before, rel=0.02)
    assert before - after >= report.saved_low > 0
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    pageann.tune(path, QUERIES, threads=2)
    assert index_bytes(path) <= int(2.6 * BASE.nbytes)


def test_ids_that_can_be_read_once(tmp_path: Path) -> None:
    names = [f"name {number}" for number in range(ROWS)]
    pageann.build(BASE, tmp_path / "index", memory=MEMORY, disk=DISK, ids=iter(names), threads=2)
    with pageann.open(tmp_path / "index", threads=2) as index:
        assert index.search(BASE[5:6], 1).ids.tolist() == [["name 5"]]


@pytest.mark.parametrize("file", ["copies.bin", "pages.bin"])
def test_damage_to_copies_is_found(path: Path, file: str) -> None:
    target = path / "seg-000001" / file
    data = bytearray(target.read_bytes())
    data[-2000 if file == "copies.bin" else -100] ^= 4
    target.write_bytes(data)
    assert [damage.file for damage in pageann.verify(path)] == [f"seg-000001/{file}"]
    if file == "copies.bin":
        with pytest.raises(pageann.DamagedIndex):
            pageann.open(path)


def test_processes_share_the_places_of_copies(built: Path) -> None:
    with pageann.open(built, threads=2) as index:
        alone = index.search(QUERIES, 10, effort=20)
    with (
        pageann.SharedArrays(processes=1) as shared,
        pageann.open(built, threads=2, memory=MEMORY, shared=shared.address) as index,
    ):
        assert "copies" in {item.name for item in index.ledger.items}
        found = index.search(QUERIES, 10, effort=20)
    np.testing.assert_array_equal(found.ids, alone.ids)
