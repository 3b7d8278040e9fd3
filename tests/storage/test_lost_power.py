"""Power may fail at any moment of a build; what then lies on the disk must be a whole version or none.

A build runs over a file layer that records each write, sync, rename and removal. After each of them
every state that a hostile disk could be in (pending changes kept, lost, torn, zeroed, in any mixture)
is brought onto a real folder and opened. It must be the version from before, or the new one, with every
byte of it right; and once the build has returned, it must be the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pageann.errors import IndexNotFound, PageANNError
from pageann.storage.directory import IndexDirectory, is_own_name
from pageann.storage.files import Files
from pageann.storage.verify import verify
from tests.reference.crash_disk import read_tree, write_tree
from tests.reference.crash_files import Crash, Recording, RecordingFiles, crashes, record
from tests.reference.sample_index import build_sample

NOTHING = 0


def version_at(path: Path) -> int:
    """The version at ``path``, whose every byte is verified, or NOTHING."""
    try:
        manifest = IndexDirectory(path).current()
    except IndexNotFound:
        return NOTHING
    assert verify(path) == []
    assert manifest.options == {"seed": manifest.version}
    return manifest.version


def opened_crashes(recording: Recording, folder: Path) -> Iterator[tuple[Crash, Path]]:
    """Each crash, and the index folder that it leaves."""
    for crash in crashes(recording):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tree(crash.tree, folder)
        yield crash, folder / "index"


def record_build(root: Path, version: int) -> Recording:
    """Record the build of ``version`` on top of those before it."""
    root.mkdir()
    for earlier in range(1, version):
        build_sample(root / "index", earlier)
    return record(root, lambda files: build_sample(root / "index", version, files))


@pytest.mark.parametrize("version", [1, 2])
def test_a_crash_leaves_the_old_version_or_the_new_one(tmp_path: Path, version: int) -> None:
    recording = record_build(tmp_path / "disk", version)
    found: dict[int, set[int]] = {}
    for crash, index in opened_crashes(recording, tmp_path / "crash"):
        try:
            found.setdefault(crash.done, set()).add(version_at(index))
        except (AssertionError, PageANNError) as error:
            raise AssertionError(f"after {crash.done} operations, {crash.label}: {error}") from error
    steps = [found[done] for done in sorted(found)]
    assert set().union(*steps) == {version - 1, version}
    assert steps[0] == {version - 1}
    assert steps[-1] == {version}, "a build that returned is durable"
    published = next(done for done, versions in enumerate(steps) if versions == {version})
    assert all(versions == {version} for versions in steps[published:]), "a durable version does not go away"


@pytest.mark.parametrize("version", [1, 2])
def test_the_next_build_recovers_from_any_crash(tmp_path: Path, version: int) -> None:
    recording = record_build(tmp_path / "disk", version)
    for crash, index in opened_crashes(recording, tmp_path / "crash"):
        if not crash.label.startswith(("all kept,", "mixture 0")):
            continue  # each of these costs a build; opening alone is tested on all of them
        before = version_at(index)
        build_sample(index, before + 1, RecordingFiles(tmp_path / "crash"))
        assert version_at(index) == before + 1, (crash.done, crash.label)
        assert sorted(path.name for path in index.iterdir()) == [
            "CURRENT",
            f"manifest-{before + 1:06d}.json",
            f"seg-{before + 1:06d}",
        ]


def test_leftovers_are_told_from_what_is_not_ours(tmp_path: Path) -> None:
    recording = record_build(tmp_path / "disk", 2)
    names = {name.split("/")[1] for crash in crashes(recording) for name in crash.tree if "/" in name}
    assert len(names) > 6
    assert all(is_own_name(name) for name in names)
    assert not any(is_own_name(name) for name in ("seg-1", "manifest-000001.json.bak", "notes.txt", "tmp"))


class SyncsNothing:
    """A file layer that forgets one kind of sync; the harness must notice."""

    def __init__(self, files: Files, forgotten: str) -> None:
        self._files = files
        self._forgotten = forgotten

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name == self._forgotten:
            return lambda path: None
        if name == "create" and self._forgotten == "sync":
            return lambda path: _NeverSynced(self._files.create(path))
        method: Callable[..., object] = getattr(self._files, name)
        return method


class _NeverSynced:
    """A file whose sync does nothing."""

    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return (lambda: None) if name == "sync" else getattr(self._file, name)


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
def test_the_harness_notices_a_forgotten_sync(tmp_path: Path, forgotten: str) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    recording = record(
        root,
        lambda files: build_sample(root / "index", 1, SyncsNothing(files, forgotten)),  # type: ignore[arg-type]
    )
    broken = 0
    for _, index in opened_crashes(recording, tmp_path / "crash"):
        try:
            version_at(index)
        except (AssertionError, PageANNError):
            broken += 1
    assert broken > 10


def test_the_model_of_the_disk_agrees_with_the_real_one(tmp_path: Path) -> None:
    recording = record_build(tmp_path / "disk", 2)
    last = [
        crash for crash in crashes(recording, first=len(recording.operations)) if crash.label == "all kept"
    ]
    assert [crash.tree for crash in last] == [read_tree(tmp_path / "disk")]
