"""A build that dies goes on where it was, and ends in the bytes of one that was never disturbed.

It is stopped by its own progress callback, by an operation of the disk that fails, by a signal that nobody
can catch, at as many moments as there are; what it leaves is then damaged, or offered to another input.
"""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.source import open_vectors
from pageann.errors import StorageError
from pageann.index.builder import checkpoint
from pageann.index.builder.checkpoint import JOURNAL_NAME
from pageann.index.builder.curves import Meter
from pageann.index.builder.pipeline import PHASE_WEIGHTS, BuildOptions, build_index
from pageann.index.builder.stamp import input_tag
from pageann.index.search.effort import Curve
from pageann.index.segment_files import CALIBRATION_FILE
from pageann.storage.directory import SCRATCH_NAME
from pageann.types import Metric, parse_bytes
from tests.library.samples import vectors_of
from tests.library.test_same_bytes import digests
from tests.reference.crash_files import RecordingFiles

ROWS = 2000
BASE, _ = vectors_of(ROWS, 8, "float32", 3)
OTHER, _ = vectors_of(ROWS, 8, "float32", 4)
Progress = Callable[[pageann.Progress], "bool | None"]


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that may be made durable is, as in a build of hours."""
    monkeypatch.setattr(checkpoint, "_LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "_COST_FACTOR", 0.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an undisturbed build."""
    path = tmp_path_factory.mktemp("whole") / "index"
    build(path)
    return digests(path)


def build(
    path: Path, vectors: NDArray[np.float32] = BASE, progress: Progress | None = None, **options: object
) -> None:
    settings = {"memory": "80KiB", "disk": "8x", "threads": 1, "progress": progress, **options}
    pageann.build(vectors, path, **settings)  # type: ignore[arg-type]


def stop_at(event_number: int, error: type[BaseException] | None = None) -> Progress:
    """Cancel (or raise) at an event of that number."""
    seen = 0

    def progress(event: pageann.Progress) -> bool:
        nonlocal seen
        seen += 1
        if seen == event_number and error is not None:
            raise error
        return seen != event_number

    return progress


def events_of(path: Path, **options: object) -> list[pageann.Progress]:
    events: list[pageann.Progress] = []
    build(path, progress=lambda event: events.append(event), **options)  # type: ignore[func-returns-value]
    return events


@pytest.mark.parametrize("phase", [name for name in PHASE_WEIGHTS if name != "reading"])
def test_a_build_cancelled_in_any_phase_goes_on(tmp_path: Path, phase: str, expected: dict[str, str]) -> None:
    path = tmp_path / "index"
    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=lambda event: event.phase != phase)
    assert (path / SCRATCH_NAME).exists()
    with pytest.raises(pageann.IndexNotFound, match="did not finish"):
        pageann.open(path)
    events = events_of(path)
    assert digests(path) == expected
    if phase != "partition":
        assert [event.note for event in events if event.note] == ["going on with the build that stopped here"]


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=lambda event: event.phase != "calibration")

    def fail(*arguments: object) -> None:
        raise AssertionError("this was done by the build before")

    for name in (
        "neighbours.merge_tile",
        "packing.propose_swaps",
        "segment.write_pages",
        "pipeline.write_ids",
    ):
        monkeypatch.setattr(f"pageann.index.builder.{name}", fail)
    monkeypatch.setattr("pageann.index.builder.segment.write_vector_codes", fail)
    build(path)
    assert pageann.verify(path) == []


def test_curves_that_were_measured_are_not_measured_again(
    tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index"
    measured = 0
    whole = Meter.curve

    def counted(meter: Meter, *arguments: Any) -> Curve:
        nonlocal measured
        measured += 1
        if measured == 4:
            raise KeyboardInterrupt
        return whole(meter, *arguments)

    monkeypatch.setattr(Meter, "curve", counted)
    with pytest.raises(KeyboardInterrupt):
        build(path)
    assert measured == 4
    monkeypatch.setattr("pageann.index.builder.pipeline.draw_sample", None)  # the truth is known too
    build(path)
    assert measured == 4 + _curve_count(path) - 3
    assert digests(path) == expected


@pytest.mark.slow
def test_a_build_stopped_again_and_again_comes_to_its_end(tmp_path: Path, expected: dict[str, str]) -> None:
    """Each try gets one event farther in than the last; the fraction never falls within one."""
    path = tmp_path / "index"
    for number in range(2, 200):
        fractions: list[float] = []
        stop = stop_at(number, KeyboardInterrupt if number % 2 else None)

        def progress(
            event: pageann.Progress, fractions: list[float] = fractions, stop: Progress = stop
        ) -> bool:
            fractions.append(event.fraction)
            return bool(stop(event))

        try:
            build(path, progress=progress)
        except (pageann.BuildCancelled, KeyboardInterrupt):
            assert fractions == sorted(fractions)
            continue
        break
    assert digests(path) == expected
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


def test_the_fraction_stands_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "index"
    before: list[float] = []

    def progress(event: pageann.Progress) -> bool:
        before.append(event.fraction)
        return event.phase != "codes"

    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=progress)
    events = events_of(path)
    later = [event.fraction for event in events if event.phase != "reading"]
    assert later[0] == pytest.approx(before[-1], abs=0.02)


def build_over(files: RecordingFiles, path: Path) -> None:
    disk_bytes = parse_bytes("8x").resolve(BASE.nbytes)
    options = BuildOptions(Metric.L2, parse_bytes("80KiB"), 0, None, None, 0, 1, True, disk_bytes=disk_bytes)
    build_index(open_vectors(BASE), path, None, options, files=files)


def operations_of(root: Path) -> int:
    root.mkdir()
    files = RecordingFiles(root)
    build_over(files, root / "index")
    return len(files.log)


def test_an_operation_of_the_disk_that_fails_costs_little(tmp_path: Path, expected: dict[str, str]) -> None:
    """Some of all operations fail in turn, and the next build ends in the same bytes."""
    count = operations_of(tmp_path / "all")
    for number in range(5, count, max(1, count // 5)):
        root = tmp_path / str(number)
        root.mkdir()
        files = RecordingFiles(root, fail_at=number)
        try:
            build_over(files, root / "index")
        except StorageError:
            assert files.has_failed
            build(root / "index")
        assert digests(root / "index") == expected, number


@pytest.mark.parametrize("change", ["vectors", "seed", "metric", "memory", "disk", "ids"])
def test_a_leftover_of_another_build_is_removed_with_a_word(tmp_path: Path, change: str) -> None:
    path = tmp_path / "index"
    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=lambda event: event.phase != "codes")
    changes: dict[str, object] = {
        "vectors": {"vectors": OTHER}, "seed": {"seed": 9}, "metric": {"metric": "ip"},
        "memory": {"memory": "120KiB"}, "disk": {"disk": "9x"}, "ids": {"ids": np.arange(ROWS) + 5},
    }[change]  # type: ignore[assignment]  # fmt: skip
    events = events_of(path, **changes)  # type: ignore[arg-type]
    notes = [event.note for event in events if event.note]
    assert len(notes) == 1
    assert "removed what a build of another input" in notes[0]
    build(tmp_path / "clean", **changes)  # type: ignore[arg-type]
    assert digests(path) == digests(tmp_path / "clean")


def test_no_resume_starts_over(tmp_path: Path, expected: dict[str, str]) -> None:
    path = tmp_path / "index"
    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=lambda event: event.phase != "codes")
    events = events_of(path, resume=False)
    assert not any(event.note for event in events)
    assert digests(path) == expected


def test_a_build_stopped_while_it_reads_again_keeps_what_was_done(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    path = tmp_path / "index"
    for phase in ("codes", "reading"):
        with pytest.raises(pageann.BuildCancelled):
            build(path, progress=lambda event, phase=phase: event.phase != phase)  # type: ignore[misc]
    notes = [event.note for event in events_of(path) if event.note]
    assert notes == ["going on with the build that stopped here"]
    assert digests(path) == expected


def test_a_build_stopped_before_its_first_reading_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(pageann.BuildCancelled):
        build(tmp_path / "index", progress=lambda event: event.phase != "reading")
    assert not (tmp_path / "index").exists()


def test_a_stop_that_cannot_be_noted_keeps_what_was_noted_before(tmp_path: Path) -> None:
    """Cancelled while the disk is full: the caller hears of the cancellation, and nothing is lost."""
    path = tmp_path / "index"

    def refuse(store: checkpoint.Checkpoints) -> None:
        raise StorageError("the disk is full", errno.ENOSPC)

    with pytest.MonkeyPatch.context() as patch:

        def progress(event: pageann.Progress) -> bool:
            if event.phase == "codes":
                patch.setattr(checkpoint.Checkpoints, "save", refuse)
            return event.phase != "codes"

        with pytest.raises(pageann.BuildCancelled):
            build(path, progress=progress)
    notes = [event.note for event in events_of(path) if event.note]
    assert notes == ["going on with the build that stopped here"]


def test_ids_that_differ_in_a_line_feed_are_of_another_build() -> None:
    tags = {input_tag(BASE[:2], ids, {}, 0) for ids in (["a\nb", "c"], ["a", "b\nc"])}
    assert len(tags) == 2


def test_bad_data_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    spoilt = BASE.copy()
    spoilt[7, 3] = np.nan
    with pytest.raises(pageann.InvalidData, match="row 7"):
        build(tmp_path / "index", spoilt)
    assert not (tmp_path / "index").exists()


def test_the_version_before_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path, OTHER)
    with pytest.raises(pageann.BuildCancelled):
        build(path, progress=lambda event: event.phase != "packing")
    assert pageann.verify(path) == []
    with pageann.open(path) as index:
        assert index.get([0]).tobytes() == OTHER[:1].tobytes()
    build(path)
    with pageann.open(path) as index:
        assert index.get([0]).tobytes() == BASE[:1].tobytes()
    assert sorted(file.name for file in path.iterdir()) == ["CURRENT", "manifest-000002.json", "seg-000002"]


@pytest.mark.parametrize(
    "how",
    ["flipped", pytest.param("cut", marks=pytest.mark.slow), pytest.param("removed", marks=pytest.mark.slow)],
)
def test_a_checkpoint_that_was_damaged_is_not_used(
    tmp_path: Path, how: str, expected: dict[str, str]
) -> None:
    """Each file that it consists of in turn, the journal too."""
    stopped = tmp_path / "stopped"
    with pytest.raises(pageann.BuildCancelled):
        build(stopped, progress=lambda event: event.phase != "calibration")
    scratch = [file for folder in stopped.iterdir() if folder.is_dir() for file in folder.iterdir()]
    assert any(file.name == JOURNAL_NAME for file in scratch)
    assert len(scratch) > 6
    every = 3 if how == "flipped" else 1
    for number, file in enumerate(sorted(scratch)[::every]):
        path = tmp_path / str(number)
        _copy(stopped, path)
        victim = path / file.relative_to(stopped)
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 0x10
        victim.write_bytes(content[:-1] if how == "cut" else content)
        if how == "removed":
            victim.unlink()
        build(path)
        assert digests(path) == expected, file.name


def _curve_count(path: Path) -> int:
    (file,) = path.rglob(CALIBRATION_FILE)
    return len(json.loads(file.read_bytes())["curves"])


def _copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())


KILLED = """
import os, signal, sys, numpy as np, pageann
from pageann.index.builder import checkpoint
checkpoint._LEAST_SECONDS_BETWEEN = checkpoint._COST_FACTOR = 0.0
seen = 0
def die(progress):
    global seen
    seen += 1
    if seen == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
pageann.build(np.load(sys.argv[1]), sys.argv[2], memory="80KiB", disk="8x", threads=1, progress=die)
"""


def test_a_killed_build_goes_on(tmp_path: Path, expected: dict[str, str]) -> None:
    """SIGKILL runs no code of ours: the lock file and half-written files stay where they are."""
    np.save(tmp_path / "base.npy", BASE)
    path = tmp_path / "index"
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "base.npy"), str(path)]
    for event_number in (3, 7, 9):
        killed = subprocess.run([*arguments, str(event_number)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert (path / "LOCK").exists()
    build(path)
    assert digests(path) == expected
