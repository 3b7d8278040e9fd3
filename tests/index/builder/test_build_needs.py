"""A build that takes more memory or disk than it said harms whoever else is on the machine."""

from __future__ import annotations

import errno
import mmap
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pageann
from pageann.datasets.synthetic import clustered
from pageann.errors import BudgetTooSmall, StorageError
from pageann.index.builder.navigation import navigation_view
from pageann.index.builder.needs import _unfinished_bytes
from pageann.index.builder.residency import Pace, Residency, reserve_file
from pageann.types import Metric
from tests.library.test_same_bytes import digests


def resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * mmap.PAGESIZE


def test_a_budget_that_is_too_small_names_one_that_works(tmp_path: Path) -> None:
    base, _ = clustered(3000, 16, queries=1, seed=2)
    with pytest.raises(BudgetTooSmall, match="build_memory=") as caught:
        pageann.build(base, tmp_path / "index", memory="1MiB", build_memory="1MiB", threads=1)
    assert not (tmp_path / "index").exists()
    least = caught.value.required_bytes
    assert str(least) in str(caught.value)
    pageann.build(base, tmp_path / "index", memory="1MiB", build_memory=least, threads=1)
    with pytest.raises(BudgetTooSmall):
        pageann.build(base, tmp_path / "index", memory="1MiB", build_memory=least - 1, threads=1)


def test_letting_go_of_mapped_files_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest budget there is: everything is dropped whenever somebody asks."""
    base, _ = clustered(3000, 16, dtype="float16", queries=1, seed=2)
    options = {"memory": "96KiB", "metric": "cosine", "threads": 2}
    pageann.build(base, tmp_path / "roomy", **options)  # type: ignore[arg-type]
    drops = 0

    def always(residency: Residency) -> tuple[int, int]:
        nonlocal drops
        drops += 1
        residency.drop()
        return 0, 0

    monkeypatch.setattr(Residency, "room_bytes", always)
    pageann.build(base, tmp_path / "tight", **options)  # type: ignore[arg-type]
    assert drops > 50
    assert digests(tmp_path / "tight") == digests(tmp_path / "roomy")


def test_work_that_touches_much_is_cut_into_short_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that touches 64 KiB here and there must not be one of hundreds between two looks."""
    monkeypatch.setattr("pageann.index.builder.residency._RUNTIME_BYTES", 0)
    residency = Residency(32 << 20)
    array = residency.create(tmp_path / "large", np.uint8, (256 << 20,))
    pace, most, seen = Pace(residency, 1000), 0, 0
    before = resident_bytes()
    for first, last in pace.runs(0, 256):
        assert first == seen
        seen = last
        array[first << 20 : last << 20] = 1  # a MiB a row
        most = max(most, resident_bytes() - before)
    assert seen == 256
    assert most < 40 << 20
    assert array.min() == 1
    assert list(Pace(None, 3).runs(4, 12)) == [(4, 7), (7, 10), (10, 12)]


def test_mapped_files_are_dropped_when_the_process_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pageann.index.builder.residency._RUNTIME_BYTES", 0)
    residency = Residency(4 << 20)
    array = residency.create(tmp_path / "large", np.uint8, (64 << 20,))
    for first in range(0, len(array), 1 << 20):
        array[first : first + (1 << 20)] = first >> 20
        residency.check()
    assert residency.drops > 2
    assert [int(array[first]) for first in range(0, len(array), 1 << 20)] == list(range(64))


def test_room_is_made_before_much_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of the process's own come on top of what is mapped, which no later look takes back in time."""
    monkeypatch.setattr("pageann.index.builder.residency._RUNTIME_BYTES", 0)
    residency = Residency(64 << 20)
    array = residency.create(tmp_path / "large", np.uint8, (40 << 20,))
    array[:] = 1
    residency.make_room(1 << 20)
    assert residency.drops == 0
    residency.make_room(48 << 20)
    assert residency.drops == 1
    assert array.min() == 1


def test_a_roomy_budget_drops_nothing(tmp_path: Path) -> None:
    residency = Residency(1 << 40)
    residency.create(tmp_path / "file", np.uint8, (1 << 20,))[:] = 1
    residency.check()
    assert residency.drops == 0


def test_a_disk_without_room_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = clustered(3000, 16, queries=1, seed=2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(StorageError, match=r"needs .* of disk, 1\.0 MiB are free"):
        pageann.build(base, tmp_path / "new" / "index", memory="1MiB")
    assert not (tmp_path / "new").exists()


def test_a_build_that_is_running_may_take_its_files_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another build has in the folder is counted while that one removes it."""
    (tmp_path / "scratch.tmp").mkdir()
    (tmp_path / "scratch.tmp" / "work").write_bytes(bytes(1000))
    assert _unfinished_bytes(tmp_path) == 1000

    def vanished(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("pageann.index.builder.needs.os.scandir", vanished)
    assert _unfinished_bytes(tmp_path) == 0


def test_working_files_have_their_place_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping that meets a full disk ends the process by a signal; creating the file must refuse."""
    reserve_file(tmp_path / "file", 1 << 20)
    status = (tmp_path / "file").stat()
    assert status.st_size == 1 << 20
    assert status.st_blocks * 512 >= 1 << 20

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("pageann.index.builder.residency.os.posix_fallocate", full)
    with pytest.raises(StorageError, match="disk is full"):
        Residency(1 << 30).create(tmp_path / "large", np.uint8, (100,))
    with pytest.raises(StorageError, match="disk is full"):
        navigation_view(np.zeros((4, 4), np.float16), Metric.L2, tmp_path)
