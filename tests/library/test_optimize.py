"""``optimize`` pins what a log visits, only where that saves reads, and says how many truly.

Guarded: a saving that the next searches do not see; an order published that does not help; an answer
that changes with what is pinned; a version that is half of one after a loss of power.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.errors import DamagedIndex
from pageann.index.search.opened import Quality
from pageann.index.search.optimize import OptimizeOptions, optimize_index
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files
from pageann.storage.lock import WriterLock
from pageann.storage.revision import IndexRevision
from pageann.types import parse_bytes
from tests.library.brute import measured
from tests.reference.crash_disk import write_tree
from tests.reference.crash_files import crashes, record
from tests.reference.format_reader import read_index
from tests.reference.segment_reader import read_segment

BASE, QUERIES = clustered(4000, 24, clusters=12, queries=400, seed=7)
MEMORY = "300KiB"
"""Room for codes, and for about a third of the pages."""
LOG = np.repeat(QUERIES[:60], 5, axis=0)[np.random.default_rng(0).permutation(300)]
"""Few queries, often."""
FAST_STATES = 25


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("optimized") / "index"
    pageann.build(BASE, path, memory=MEMORY, threads=2)
    return path


@pytest.fixture
def path(built: Path, tmp_path: Path) -> Path:
    """The index, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def names(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def searched(path: Path, queries: NDArray[Any], **options: Any) -> pageann.SearchResult:
    with pageann.open(path, threads=2, **options) as index:
        return index.search(queries, 10)


def test_the_saving_is_what_searches_see(path: Path) -> None:
    held_back = LOG[4::5]
    before = searched(path, held_back)
    report = pageann.optimize(path, LOG, threads=2)
    after = searched(path, held_back)
    assert report.published, report
    assert report.reads_before == pytest.approx(measured(before).reads.mean())
    assert measured(after).reads.mean() <= report.reads_after + 0.1, "the rest of the log helps as well"
    saved = measured(before).reads.mean() - measured(after).reads.mean()
    assert saved >= report.saved_low > 0
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
    looked_at = [measured(each).reads + measured(each).pinned_hits for each in (before, after)]
    np.testing.assert_array_equal(*looked_at)
    with pageann.open(path) as index:
        assert index.describe()["resident"]["pinned_pages"] == report.pinned_pages
        assert index.describe()["version"] == report.version == 2


def test_pages_that_are_visited_often_come_first(path: Path) -> None:
    with pageann.open(path) as index:
        told = [index.explain(query, truth=False) for query in LOG]
        visits = np.zeros(index.describe()["layout"]["page_count"], np.int64)
    for each in told:
        for _, page in each.pages():
            visits[page.page] += 1
    report = pageann.optimize(path, LOG, threads=2)
    found = read_index(path)
    files = {name.split("/")[1]: data for name, data in found.files.items()}
    order = read_segment(found.manifest["segments"][0], files).pin_order
    assert sorted(order.tolist()) == list(range(len(visits)))
    hottest = np.sort(visits)[::-1][: report.pinned_pages].sum()
    assert visits[order[: report.pinned_pages]].sum() >= 0.95 * hottest


def test_what_does_not_help_is_not_published(path: Path) -> None:
    pageann.optimize(path, LOG, threads=2)
    before = names(path)
    again = pageann.optimize(path, LOG, threads=2)
    assert not again.published
    assert again.version == 2
    assert "not surely" in again.because
    assert names(path) == before
    assert "not published" in repr(again)


def test_another_log_replaces_the_order(path: Path) -> None:
    pageann.optimize(path, LOG, threads=2)
    report = pageann.optimize(path, np.repeat(QUERIES[300:330], 10, axis=0), threads=2)
    assert (report.published, report.version) == (True, 3)
    assert [name for name in names(path) if "pins" in name] == ["seg-000001/pins-000003.bin"]
    assert pageann.verify(path) == []


def test_the_same_log_gives_the_same_bytes(built: Path, path: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(built, tmp_path / "other"))
    pageann.optimize(path, LOG, threads=1)
    pageann.optimize(other, LOG, threads=2)
    assert names(path) == names(other)
    for name in names(path):
        assert (path / name).read_bytes() == (other / name).read_bytes(), name


def test_tuned_and_optimized_in_any_order(path: Path) -> None:
    pageann.optimize(path, LOG, threads=2)
    pageann.tune(path, LOG[:60], threads=2)
    assert pageann.verify(path) == []
    revised = [name.split("/")[1] for name in names(path) if "-00000" in name.split("/")[-1] and "/" in name]
    assert revised == ["calibration-000003.json", "pins-000002.bin"]
    assert measured(searched(path, LOG)).pinned_hits.mean() > 1


def test_a_damaged_order_is_named(path: Path) -> None:
    pageann.optimize(path, LOG, threads=2)
    (file,) = path.glob("seg-*/pins-*.bin")
    content = bytearray(file.read_bytes())
    content[80] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedIndex, match=file.name):
        pageann.open(path)
    assert [each.file for each in pageann.verify(path)] == [f"seg-000001/{file.name}"]


def test_an_order_of_another_index_is_refused(path: Path, tmp_path: Path) -> None:
    pageann.build(BASE[::-1], tmp_path / "other", memory=MEMORY, threads=2)
    pageann.optimize(path, LOG, threads=2)
    (file,) = path.glob("seg-*/pins-*.bin")
    with IndexRevision(IndexDirectory(tmp_path / "other")) as revision:
        name = revision.name_of("pins.bin")
        shutil.copy(file, revision.segment_path / name)
        revision.publish({name: IndexDirectory(path).current().segments[0].files[file.name]})
    with pytest.raises(DamagedIndex, match="another index"):
        pageann.open(tmp_path / "other")


@pytest.mark.parametrize(
    ("queries", "options", "said"),
    [
        (LOG[:49], {}, "49 are too few"),
        (LOG, {"memory": "90KiB"}, "no page is pinned"),
        (LOG, {"k": 0}, "k=0"),
        (LOG, {"recall": 2.0}, "recall"),
        (LOG[:, 1:], {}, "23"),
    ],
)
def test_mistakes_are_refused(path: Path, queries: NDArray[Any], options: dict[str, Any], said: str) -> None:
    before = names(path)
    with pytest.raises(pageann.InvalidArgument, match=said):
        pageann.optimize(path, queries, **options)
    assert names(path) == before


def test_all_pages_pinned_leaves_nothing_to_do(path: Path) -> None:
    report = pageann.optimize(path, LOG, memory="4MiB", threads=2)
    assert not report.published
    assert report.reads_before == report.reads_after == 0


def test_cancelled_or_locked_it_changes_nothing(path: Path) -> None:
    before = names(path)
    for last in ("visits", "publishing"):
        with pytest.raises(pageann.BuildCancelled):
            pageann.optimize(path, LOG, progress=lambda event, last=last: event.phase != last)
        assert names(path) == before
    lock = WriterLock(path)
    with pytest.raises(pageann.IndexLocked):
        pageann.optimize(path, LOG)
    lock.release()


def test_a_loss_of_power_leaves_one_version_whole(built: Path, tmp_path: Path) -> None:
    index = Path(shutil.copytree(built, tmp_path / "disk" / "index"))
    options = OptimizeOptions(parse_bytes(MEMORY), 10, Quality(effort=12), 1)

    def optimize(files: Files) -> None:
        assert optimize_index(index, LOG, options, files=files).published

    recording = record(tmp_path / "disk", optimize)
    states = list(crashes(recording))
    found = set()
    for crash in states[:: max(1, len(states) // FAST_STATES)] + states[-1:]:
        folder = tmp_path / "crash"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tree(crash.tree, folder)
        assert pageann.verify(folder / "index") == [], crash.label
        found.add(IndexDirectory(folder / "index").current().version)
        assert searched(folder / "index", LOG[:2]).counts.tolist() == [10, 10]
    assert found == {1, 2}
