"""``tune`` makes ``recall=`` true for the queries it was given, and changes nothing else.

Guarded: curves of some widths only; other bytes from the same queries; a version that is half of one
after a loss of power; a reader or a builder that is disturbed.
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
from pageann.index.search.tune import tune_index
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files
from pageann.storage.lock import WriterLock
from tests.library.brute import all_distances, measured, recall
from tests.library.samples import LAYOUTS, Sample, Samples
from tests.reference.crash_disk import write_tree
from tests.reference.crash_files import crashes, record
from tests.reference.format_reader import read_index
from tests.reference.segment_reader import read_segment

FEW = 60
FAST_STATES = 25


def shifted(sample: Sample, count: int, seed: int) -> NDArray[Any]:
    """Queries that lie farther from the vectors than those do from each other."""
    generator = np.random.default_rng(seed)
    rows = sample.base[generator.integers(0, len(sample.base), count)].astype(np.float32)
    return rows + (0.8 * rows.std() * generator.standard_normal(rows.shape)).astype(np.float32)


@pytest.fixture
def copy(layout: Sample, tmp_path: Path) -> Sample:
    """Each layout in turn, to be changed."""
    path = Path(shutil.copytree(layout.path, tmp_path / "copy"))
    return Sample(layout.kind, path, layout.base, layout.queries, layout.ids)


@pytest.fixture
def codes(samples: Samples, tmp_path: Path) -> Sample:
    """One layout, to be changed."""
    sample = samples(LAYOUTS["codes"])
    path = Path(shutil.copytree(sample.path, tmp_path / "copy"))
    return Sample(sample.kind, path, sample.base, sample.queries, sample.ids)


def names(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def calibration_of(path: Path) -> dict[str, Any]:
    with pageann.open(path, threads=1) as index:
        found: dict[str, Any] = index.describe()["calibration"]
        return found


def test_recall_asked_for_is_reached_by_such_queries(copy: Sample) -> None:
    report = pageann.tune(copy.path, shifted(copy, 200, 1), threads=2)
    assert pageann.verify(copy.path) == []
    fresh = shifted(copy, 200, 2)
    with copy.open() as index:
        for asked in (0.8, 0.9, 0.95):
            result = index.search(fresh, 10, recall=asked)
            if not measured(result).warnings:
                slack = 2 * report.interval + 0.01
                assert recall(result, copy.base, fresh, "l2") >= asked - slack


def test_every_width_of_codes_has_curves(copy: Sample) -> None:
    report = pageann.tune(copy.path, shifted(copy, FEW, 1), threads=2)
    with copy.open() as index:
        widths = {*index.describe()["layout"]["code_bytes"], 0}
    curves = calibration_of(copy.path)["curves"]
    assert {(curve["code_bytes"], curve["k"]) for curve in curves} == {
        (width, k) for width in widths for k in (1, 10, 100)
    }
    assert {each.code_bytes for each in report.efforts} == widths
    for curve in curves:
        efforts = [point["effort"] for point in curve["points"]]
        assert efforts == sorted(set(efforts))
        assert all(0 <= point["recall_low"] <= point["recall"] <= 1 for point in curve["points"])


def test_the_curve_is_what_a_search_gives(copy: Sample) -> None:
    queries = shifted(copy, FEW, 3)
    pageann.tune(copy.path, queries, threads=2)
    with copy.open("8MiB") as index:  # room for rounds as wide as those that were measured
        width = index.describe()["resident"]["code_bytes"]
        (curve,) = [
            each
            for each in calibration_of(copy.path)["curves"]
            if (each["code_bytes"], each["k"]) == (width, 10)
        ]
        for point in curve["points"][::3]:
            result = index.search(queries, 10, effort=point["effort"])
            stats = measured(result)
            assert recall(result, copy.base, queries, "l2") == pytest.approx(point["recall"], abs=0.01)
            looked_at = (stats.reads + stats.pinned_hits).mean()
            assert point["reads"] == pytest.approx(looked_at, rel=0.15, abs=0.6)


def test_the_same_queries_give_the_same_bytes(copy: Sample, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copy.path, tmp_path / "other"))
    queries = shifted(copy, FEW, 4)
    pageann.tune(copy.path, queries, threads=1)
    pageann.tune(other, queries, threads=2)
    assert names(copy.path) == names(other)
    for name in names(copy.path):
        assert (copy.path / name).read_bytes() == (other / name).read_bytes(), name


def test_a_reader_keeps_its_curves_and_the_next_one_has_the_new(copy: Sample) -> None:
    queries = shifted(copy, FEW, 5)
    with copy.open() as old:
        before = old.search(copy.queries, 10, recall=0.9)
        report = pageann.tune(copy.path, queries, threads=2)
        again = pageann.tune(copy.path, queries[::-1], threads=2)
        after = old.search(copy.queries, 10, recall=0.9)
        np.testing.assert_array_equal(before.ids, after.ids)
        np.testing.assert_array_equal(measured(before).effort, measured(after).effort)
    assert (report.version, again.version) == (2, 3)
    with copy.open() as new:
        assert new.describe()["version"] == 3
        assert new.describe()["calibration"]["sample"] == FEW
        exact = new.search(copy.queries, 5, exact=True)
    every = np.sort(all_distances(copy.base, copy.queries, "l2"), axis=1)[:, :5]
    np.testing.assert_allclose(exact.distances, every, rtol=1e-5)
    kept = [name for name in names(copy.path) if "calibration" in name or "manifest" in name]
    assert kept == ["manifest-000003.json", "seg-000001/calibration-000003.json"]


def test_a_second_reader_follows_the_document(codes: Sample) -> None:
    pageann.tune(codes.path, shifted(codes, FEW, 6), threads=2)
    found = read_index(codes.path)
    files = {name.split("/")[1]: data for name, data in found.files.items()}
    segment = read_segment(found.manifest["segments"][0], files)
    assert segment.calibration == calibration_of(codes.path)
    assert segment.calibration["sample"] == FEW


def test_a_build_may_follow(codes: Sample) -> None:
    pageann.tune(codes.path, shifted(codes, FEW, 7), threads=2)
    pageann.build(codes.base[:200], codes.path, memory="8MiB", threads=2)
    assert calibration_of(codes.path)["sample"] != FEW
    assert not [name for name in names(codes.path) if "-000002" in name and "calibration" in name]


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (np.zeros((49, 24), np.float32), "49 are too few"),
        (np.zeros((60, 23), np.float32), "23"),
        (np.full((60, 24), np.nan, np.float32), "NaN"),
    ],
)
def test_queries_that_cannot_serve_are_refused(samples: Samples, queries: NDArray[Any], said: str) -> None:
    path = samples(LAYOUTS["codes"]).path
    before = names(path)
    with pytest.raises(pageann.InvalidArgument, match=said):
        pageann.tune(path, queries)
    assert names(path) == before


def test_few_queries_are_worth_a_warning(samples: Samples, tmp_path: Path) -> None:
    sample = samples(LAYOUTS["codes"])
    path = shutil.copytree(sample.path, tmp_path / "copy")
    report = pageann.tune(path, shifted(sample, FEW, 8), threads=2)
    assert f"+-{report.interval:.3f}" in report.warnings[0]
    assert report.warnings[0] in repr(report)


def test_many_queries_are_thinned_out(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pageann.index.search.tune._MOST_QUERIES", 70)
    sample = samples(LAYOUTS["codes"])
    path = shutil.copytree(sample.path, tmp_path / "copy")
    assert pageann.tune(path, shifted(sample, 500, 8), threads=2).queries == 70


def test_a_builder_is_not_disturbed(codes: Sample) -> None:
    lock = WriterLock(codes.path)
    with pytest.raises(pageann.IndexLocked):
        pageann.tune(codes.path, shifted(codes, FEW, 9))
    lock.release()


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(pageann.IndexNotFound):
        pageann.tune(tmp_path / "nowhere", np.zeros((60, 4), np.float32))
    assert names(tmp_path) == []


def test_cancelling_leaves_the_old_version(codes: Sample) -> None:
    before = names(codes.path)
    seen: list[str] = []
    pageann.tune(
        codes.path, shifted(codes, FEW, 1), threads=2, progress=lambda event: seen.append(event.phase)
    )
    assert list(dict.fromkeys(seen)) == ["truth", "curves", "publishing"]
    shutil.rmtree(codes.path)
    pageann.build(codes.base, codes.path, memory=codes.kind.memory, threads=2)
    for last in ("truth", "curves", "publishing"):
        with pytest.raises(pageann.BuildCancelled):
            pageann.tune(
                codes.path, shifted(codes, FEW, 1), threads=2,
                progress=lambda event, last=last: event.phase != last,
            )  # fmt: skip
        assert names(codes.path) == before


def test_a_loss_of_power_leaves_one_version_whole(tmp_path: Path) -> None:
    base, queries = clustered(150, 8, queries=FEW, seed=3)
    pageann.build(base, tmp_path / "disk" / "index", memory="1MiB", threads=1)

    def tune(files: Files) -> None:
        tune_index(tmp_path / "disk" / "index", queries, 1, files=files)

    recording = record(tmp_path / "disk", tune)
    states = list(crashes(recording))
    found = set()
    for crash in states[:: max(1, len(states) // FAST_STATES)] + states[-1:]:
        folder = tmp_path / "crash"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tree(crash.tree, folder)
        assert pageann.verify(folder / "index") == [], crash.label
        found.add(
            (IndexDirectory(folder / "index").current().version, calibration_of(folder / "index")["sample"])
        )
    assert found == {(1, 150), (2, FEW)}
