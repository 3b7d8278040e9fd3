"""A build publishes one whole version or nothing; nobody who reads the old one notices."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pageann
from tests.library.samples import CODES, vectors_of

BASE, QUERIES = vectors_of(CODES.rows, CODES.dim, CODES.dtype, CODES.seed)
OTHER, _ = vectors_of(700, CODES.dim, CODES.dtype, 99)

BUILDER = """
import sys, numpy as np, pageann
def wait(progress):
    if progress.phase == "packing":
        print("packing", flush=True)
        sys.stdin.readline()
pageann.build(np.load(sys.argv[1]), sys.argv[2], memory="1MiB", threads=1, progress=wait)
print("built", flush=True)
"""


def build(path: Path, vectors: np.ndarray = BASE, **options: object) -> pageann.BuildReport:
    return pageann.build(vectors, path, memory="1MiB", threads=2, **options)  # type: ignore[arg-type]


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


@pytest.mark.parametrize("io", ["auto", "threads", "aio"])
def test_a_reader_keeps_its_version(tmp_path: Path, io: str) -> None:
    path = tmp_path / "index"
    build(path)
    with pageann.open(path, memory="1MiB", io=io) as old:
        before = old.search(QUERIES, 10)
        build(path, OTHER)
        build(path, OTHER, seed=3)
        after = old.search(QUERIES, 10)
        exact = old.search(QUERIES, 10, exact=True)
        assert old.get([0, 899]).tobytes() == BASE[[0, 899]].tobytes()
        assert old.rows == 900
        assert old.describe()["version"] == 1
    np.testing.assert_array_equal(before.ids, after.ids)
    assert exact.ids.max() > 699
    with pageann.open(path) as new:
        assert (new.rows, new.describe()["version"]) == (700, 3)
    assert names(path) == ["CURRENT", "manifest-000003.json", "seg-000003"]


def test_an_index_is_not_replaced_where_that_is_forbidden(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path, replace=False)
    with pytest.raises(pageann.IndexExists, match="index"):
        build(path, OTHER, replace=False)
    with pageann.open(path) as index:
        assert index.rows == 900


@pytest.mark.parametrize("replace", [True, False])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(pageann.IndexExists):
        build(tmp_path / "photos", replace=replace)
    assert names(tmp_path / "photos") == ["cat.jpg"]
    (tmp_path / "file").write_bytes(b"meow")
    with pytest.raises(pageann.IndexExists):
        build(tmp_path / "file", replace=replace)
    assert (tmp_path / "file").read_bytes() == b"meow"


def test_an_index_can_be_moved(tmp_path: Path) -> None:
    build(tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / "elsewhere")
    with pageann.open(tmp_path / "elsewhere") as index:
        assert index.search(BASE[:1], 1).ids[0, 0] == 0


def test_a_second_builder_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "index"
    np.save(tmp_path / "base.npy", BASE)
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(tmp_path / "base.npy"), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as builder:
        assert builder.stdin is not None
        assert builder.stdout is not None
        assert builder.stdout.readline() == "packing\n"
        with pytest.raises(pageann.IndexLocked, match=str(builder.pid)) as caught:
            build(path, OTHER)
        assert caught.value.pid == builder.pid
        with pytest.raises(pageann.IndexNotFound):
            pageann.open(path)
        builder.stdin.write("\n" * 100)
        builder.stdin.close()
        assert builder.stdout.read().endswith("built\n")
    with pageann.open(path) as index:
        assert index.rows == 900


def phases_of(path: Path) -> list[str]:
    seen: list[str] = []
    build(path, progress=lambda progress: seen.append(progress.phase))
    return list(dict.fromkeys(seen))


def test_cancelling_in_any_phase_leaves_nothing(tmp_path: Path) -> None:
    phases = phases_of(tmp_path / "whole")
    assert len(phases) >= 8
    for phase in phases:
        with pytest.raises(pageann.BuildCancelled):
            build(
                tmp_path / "index",
                progress=lambda progress, last=phase: progress.phase != last,
                resume=False,
            )
        assert not (tmp_path / "index").exists(), phase


def test_cancelling_keeps_the_version_before(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path)
    with pytest.raises(pageann.BuildCancelled):
        build(path, OTHER, progress=lambda progress: progress.phase != "publishing", resume=False)
    assert names(path) == ["CURRENT", "manifest-000001.json", "seg-000001"]
    assert pageann.verify(path) == []


def test_an_error_of_the_callback_reaches_the_caller_and_leaves_nothing(tmp_path: Path) -> None:
    class Mistake(Exception):
        pass

    def fail(progress: pageann.Progress) -> None:
        raise Mistake

    with pytest.raises(Mistake):
        build(tmp_path / "index", progress=fail)
    assert not (tmp_path / "index").exists()


def test_progress_runs_forward(tmp_path: Path) -> None:
    events: list[pageann.Progress] = []
    report = build(tmp_path / "index", progress=events.append)
    assert [event.phase_number for event in events] == sorted(event.phase_number for event in events)
    assert {event.phase_number for event in events} == set(range(1, events[0].phase_count + 1))
    for earlier, later in itertools.pairwise(events):
        assert later.elapsed_seconds >= earlier.elapsed_seconds
        if later.phase == earlier.phase:
            assert later.done >= earlier.done, (earlier, later)
    for event in events:
        assert 0 <= event.done <= event.total or event.total == 0
        assert event.eta_seconds >= 0
    assert [name for name, _ in report.phases] == list(dict.fromkeys(event.phase for event in events))
    assert sum(seconds for _, seconds in report.phases) <= report.seconds + 1e-6


def test_the_report_agrees_with_the_index(tmp_path: Path) -> None:
    report = build(tmp_path / "index")
    with pageann.open(tmp_path / "index", threads=2) as index:
        facts = index.describe()
        assert (report.rows, report.dim, report.dtype, report.metric) == (900, 24, "float32", "l2")
        assert report.index_bytes == facts["index_bytes"]
        assert report.page_count == facts["layout"]["page_count"]
        assert report.ledger == index.ledger
    assert "900 x 24 float32, l2" in repr(report)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(pageann.IndexNotFound, match="nowhere"):
        pageann.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        pageann.open(tmp_path)
