"""A whole build that loses power at any of its operations leaves the old version, the new one, or none.

The build runs over a file layer that records; each crash that could have happened is laid out on a real
folder, opened, verified and searched.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.datasets.source import open_vectors
from pageann.errors import IndexNotFound
from pageann.index.builder.pipeline import BuildOptions, build_index
from pageann.storage.files import Files
from pageann.types import Metric, parse_bytes
from tests.library.samples import vectors_of
from tests.reference.crash_disk import write_tree
from tests.reference.crash_files import Recording, crashes, record

OLD, QUERIES = vectors_of(150, 8, "float32", 3)
NEW, _ = vectors_of(200, 8, "float32", 4)
FAST_STATES = 40
NOTHING = 0


def build(path: Path, vectors: np.ndarray, files: Files | None = None) -> None:
    options = BuildOptions(Metric.L2, parse_bytes("1MiB"), 0, None, None, 0, 1, True)
    build_index(open_vectors(vectors), path, None, options, files=files)


@pytest.fixture(scope="module", params=[1, 2])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The first build of an index, and one on top of another."""
    root = tmp_path_factory.mktemp("disk")
    if request.param == 2:
        build(root / "index", OLD)
    return record(root, lambda files: build(root / "index", NEW, files))


def rows_at(path: Path) -> int:
    """Rows of the sound index at ``path``, which answers rightly; or NOTHING."""
    try:
        with pageann.open(path, threads=1) as index:
            vectors = OLD if index.rows == len(OLD) else NEW
            found = index.search(vectors[:3], 2, exact=True)
            usual = index.search(vectors[:3], 2, effort=40)
    except IndexNotFound:
        return NOTHING
    assert pageann.verify(path) == []
    for result in (found, usual):
        assert result.ids[:, 0].tolist() == [0, 1, 2]
        assert result.distances[:, 0].tolist() == [0.0, 0.0, 0.0]
    return len(vectors)


def require_sound(recording: Recording, folder: Path, every: int) -> None:
    """Open each ``every``-th crash, and the first and last ones."""
    before = len(OLD) if any("CURRENT" in name for name in recording.before) else NOTHING
    last = len(recording.operations)
    found: dict[int, set[int]] = {}
    for number, crash in enumerate(crashes(recording)):
        if number % every and crash.done not in (0, last):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tree(crash.tree, folder)
        try:
            found.setdefault(crash.done, set()).add(rows_at(folder / "index"))
        except Exception as error:
            raise AssertionError(f"after {crash.done} operations, {crash.label}: {error!r}") from error
    assert set().union(*found.values()) == {before, len(NEW)}
    assert found[0] == {before}
    assert found[last] == {len(NEW)}, "a build that returned is durable"
    steps = [found[done] for done in sorted(found)]
    published = next(place for place, rows in enumerate(steps) if rows == {len(NEW)})
    assert all(rows == {len(NEW)} for rows in steps[published:]), "a durable version does not go away"


def test_some_crashes(recording: Recording, tmp_path: Path) -> None:
    count = sum(1 for _ in crashes(recording))
    assert count > FAST_STATES
    require_sound(recording, tmp_path / "crash", count // FAST_STATES)


@pytest.mark.slow
def test_every_crash(recording: Recording, tmp_path: Path) -> None:
    require_sound(recording, tmp_path / "crash", 1)


def test_the_next_build_recovers(recording: Recording, tmp_path: Path) -> None:
    count = sum(1 for _ in crashes(recording))
    for crash in itertools.islice(crashes(recording), 0, None, max(1, count // 5)):
        folder = tmp_path / f"crash-{crash.done}"
        folder.mkdir(exist_ok=True)
        write_tree(crash.tree, folder)
        build(folder / "index", NEW)
        assert rows_at(folder / "index") == len(NEW), (crash.done, crash.label)
        names = sorted(file.name.rstrip("0123456789.json") for file in (folder / "index").iterdir())
        assert names == ["CURRENT", "manifest-", "seg-"], (crash.done, crash.label)
        shutil.rmtree(folder)
