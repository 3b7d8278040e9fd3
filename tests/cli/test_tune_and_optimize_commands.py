"""``pageann tune`` and ``pageann optimize`` hand on what they were given, and report what was done.

Guarded: an option that does not reach the library; a mistake that is a traceback, or has the wrong code.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.datasets.synthetic import clustered
from pageann.storage.lock import WriterLock
from tests.reference.program import Program

BASE, QUERIES = clustered(4000, 24, queries=60, clusters=8, seed=4)
LOG = np.repeat(QUERIES[:12], 10, axis=0)
ROOM = "200KiB"
"""For some pages beside the codes."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index and files of queries."""
    folder = tmp_path_factory.mktemp("revised")
    pageann.build(BASE, folder / "index", memory=ROOM, threads=1)
    np.save(folder / "queries.npy", QUERIES)
    np.save(folder / "log.npy", LOG)
    np.save(folder / "few.npy", QUERIES[:9])
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """The index, to be changed."""
    return Path(shutil.copytree(built / "index", tmp_path / "index"))


def test_tune_reports_and_publishes(built: Path, index: Path, program: Program) -> None:
    outcome = program("tune", index, "--queries", built / "queries.npy", "--threads", 1, "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["version"], report["queries"]) == (2, 60)
    with pageann.open(index) as opened:
        assert opened.describe()["calibration"]["sample"] == 60
    assert "curves" in outcome.err
    outcome = program("tune", index, "--queries", built / "queries.npy")
    assert "version 3" in outcome.out
    assert "warning: 60 queries" in outcome.out


def test_optimize_reports_and_publishes(built: Path, index: Path, program: Program) -> None:
    given = ("optimize", index, "--queries", built / "log.npy", "--threads", 1)
    outcome = program(*given, "--memory", "300KiB", "--recall", 0.9, "--k", 5, "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["queries"], report["held_back"], report["budget_bytes"]) == (120, 24, 300 * 1024)
    assert report["published"] == (report["version"] == 2)
    assert report["saved_low"] > 0
    with pageann.open(index, memory="300KiB", threads=1) as opened:
        assert opened.describe()["resident"]["pinned_pages"] == report["pinned_pages"]
    outcome = program(*given, "--memory", "300KiB", "--recall", 0.9, "--k", 5)
    assert "not published" in outcome.out


@pytest.mark.parametrize("command", ["tune", "optimize"])
def test_mistakes(built: Path, index: Path, program: Program, command: str) -> None:
    outcome = program(command, index, "--queries", built / "few.npy")
    assert outcome.code == 2
    assert f"9 are too few to {command} by" in outcome.err
    assert program(command, built / "nowhere", "--queries", built / "log.npy").code == 2
    assert program(command, index, "--queries", built / "nowhere.npy").code == 2
    assert program(command, index).code == 2
    lock = WriterLock(index)
    assert program(command, index, "--queries", built / "log.npy").code == 4
    lock.release()
