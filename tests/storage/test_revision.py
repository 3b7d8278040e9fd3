"""A revision that loses power, or meets a builder, leaves the old version or the new one, whole.

Guarded: a manifest that lists a file before it is durable; the old file removed while the old manifest
may still be current; a leftover of a revision taken for damage, or left there for ever; what a build
that died has left for the next one, swept away.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from pageann.errors import IndexLocked, IndexNotFound, InvalidArgument, StorageError
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files, OsFiles
from pageann.storage.lock import LOCK_NAME, WriterLock
from pageann.storage.manifest import FileEntry, Manifest
from pageann.storage.revision import IndexRevision, base_name, is_left_over, listed_name, revised_name
from pageann.storage.verify import verify
from pageann.storage.whole import read_listed, write_whole
from tests.reference.crash_disk import write_tree
from tests.reference.crash_files import Recording, RecordingFiles, crashes, record
from tests.reference.sample_index import build_sample

NOTES = "notes.json"
"""A file that the sample has only once it is revised."""


def revise(path: Path, text: str, files: Files | None = None) -> Manifest:
    layer = OsFiles() if files is None else files
    with IndexRevision(IndexDirectory(path, layer)) as revision:
        name = revision.name_of(NOTES)
        entry = FileEntry(*write_whole(layer, revision.segment_path / name, text.encode()))
        return revision.publish({name: entry})


def notes_of(path: Path) -> str:
    """What the current version of a sound index says; nothing before the first revision."""
    assert verify(path) == []
    directory = IndexDirectory(path)
    segment = directory.current().segments[0]
    name = listed_name(segment.files, NOTES)
    return (
        "" if name is None else read_listed(directory.file_path(segment, name), segment.files[name]).decode()
    )


def names(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*"))


def test_names() -> None:
    assert revised_name("calibration.json", 8) == "calibration-000008.json"
    assert revised_name("calibration-000008.json", 1_234_567) == "calibration-1234567.json"
    assert base_name("calibration-000008.json") == "calibration.json"
    assert base_name("codes-012.bin") == "codes-012.bin"
    assert revised_name("codes-012.bin", 3) == "codes-012-000003.bin"
    entry = FileEntry(1, 1)
    assert listed_name({"a-000002.json": entry, "b.json": entry}, "a.json") == "a-000002.json"
    assert listed_name({"a.json": entry}, "a.json") == "a.json"
    assert listed_name({"a.json": entry}, "b.json") is None


@pytest.mark.parametrize(
    ("name", "listed", "expected"),
    [
        ("a.json", ["a-000002.json"], True),
        ("a-000001.json", ["a-000002.json"], True),
        ("a-000003.json", ["a-000002.json"], True),
        ("a-000003.json", [], True),
        ("a-000002.json", ["a-000002.json"], False),
        ("b.json", ["a-000002.json"], False),
        ("b-003.json", ["a-000002.json"], False),
    ],
)
def test_what_is_left_over(name: str, listed: list[str], expected: bool) -> None:
    assert is_left_over(name, dict.fromkeys(listed, FileEntry(0, 0))) == expected


def test_a_revision_keeps_all_but_what_it_replaces(tmp_path: Path) -> None:
    first = build_sample(tmp_path / "index")
    second = revise(tmp_path / "index", "one")
    third = revise(tmp_path / "index", "two")
    assert (second.version, third.version) == (2, 3)
    assert notes_of(tmp_path / "index") == "two"
    kept = {name: entry for name, entry in third.segments[0].files.items() if base_name(name) != NOTES}
    assert kept == dict(first.segments[0].files)
    assert third.options == first.options
    found = [name for name in names(tmp_path / "index") if not name.endswith(".bin")]
    assert found == ["CURRENT", "manifest-000003.json", "seg-000001", "seg-000001/notes-000003.json"]


def test_a_build_replaces_a_revised_index(tmp_path: Path) -> None:
    build_sample(tmp_path / "index")
    revise(tmp_path / "index", "one")
    assert build_sample(tmp_path / "index", seed=2).version == 3
    assert notes_of(tmp_path / "index") == ""
    assert not list(tmp_path.glob("index/seg-000001"))


def test_without_publishing_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_sample(path)
    before = names(path)
    with IndexRevision(IndexDirectory(path)) as revision:
        write_whole(OsFiles(), revision.segment_path / revision.name_of(NOTES), b"never")
    assert names(path) == before


def test_what_a_dead_build_left_stays(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_sample(path)
    (path / "scratch.tmp").mkdir()
    (path / "scratch.tmp" / "work").write_bytes(b"half")
    (path / "seg-000002.tmp").mkdir()
    revise(path, "one")
    assert (path / "scratch.tmp" / "work").read_bytes() == b"half"
    assert (path / "seg-000002.tmp").is_dir()


def test_a_builder_and_a_revision_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_sample(path)
    lock = WriterLock(path)
    with pytest.raises(IndexLocked):
        revise(path, "one")
    lock.release()
    with IndexRevision(IndexDirectory(path)), pytest.raises(IndexLocked):
        build_sample(path, seed=2)
    assert notes_of(path) == ""
    assert not (path / LOCK_NAME).exists()


def test_the_lock_is_released_whatever_is_found_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index"
    build_sample(path)

    def gone(revision: IndexRevision) -> bool:
        raise IndexNotFound(f"{path} has vanished")

    with monkeypatch.context() as patch:
        patch.setattr(IndexRevision, "_may_be_published", gone)
        with pytest.raises(IndexNotFound), IndexRevision(IndexDirectory(path)):
            pass
    revise(path, "one")
    assert notes_of(path) == "one"


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        revise(tmp_path / "nowhere", "one")
    assert names(tmp_path) == []
    with pytest.raises(IndexNotFound):
        revise(tmp_path, "one")
    assert names(tmp_path) == []


def test_files_that_are_not_as_listed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_sample(path)
    with IndexRevision(IndexDirectory(path)) as revision:
        name = revision.name_of(NOTES)
        write_whole(OsFiles(), revision.segment_path / name, b"text")
        with pytest.raises(InvalidArgument, match="4 bytes"):
            revision.publish({name: FileEntry(5, 0)})
        with pytest.raises(InvalidArgument, match=NOTES):
            revision.publish({NOTES: FileEntry(4, 0)})
        with pytest.raises(StorageError):
            revision.publish({revision.name_of("other.json"): FileEntry(4, 0)})
    assert notes_of(path) == ""


@pytest.fixture(scope="module", params=["first", "second"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The first revision of an index, and one after another."""
    root = tmp_path_factory.mktemp("disk")
    build_sample(root / "index")
    if request.param == "second":
        revise(root / "index", "old")
    return record(root, lambda files: revise(root / "index", "new", files))


def test_every_crash_leaves_the_old_version_or_the_new(recording: Recording, tmp_path: Path) -> None:
    old = "old" if any("notes" in name for name in recording.before) else ""
    last, found = len(recording.operations), {}
    for crash in crashes(recording):
        folder = tmp_path / "crash"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tree(crash.tree, folder)
        text = notes_of(folder / "index")
        found.setdefault(crash.done, set()).add(text)
        revise(folder / "index", "next")
        assert notes_of(folder / "index") == "next", crash.label
        left = [name for name in names(folder / "index") if "notes" in name or "manifest" in name]
        assert len(left) == 2, (crash.label, left)
    assert set().union(*found.values()) == {old, "new"}
    assert found[0] == {old}
    assert found[last] == {"new"}, "a revision that returned is durable"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_refused_operation_leaves_a_whole_version(tmp_path: Path, number: int) -> None:
    failed = 0
    for operation in range(60):
        root = tmp_path / f"{operation}"
        build_sample(root / "index")
        revise(root / "index", "old")
        files = RecordingFiles(root, fail_at=operation, error_number=number)
        try:
            revise(root / "index", "new", files)
        except StorageError:
            failed += 1
        assert notes_of(root / "index") in {"old", "new"}
        if not files.has_failed:
            break
        revise(root / "index", "next")
        assert notes_of(root / "index") == "next"
        assert len([name for name in names(root / "index") if "notes" in name]) == 1
    assert failed > 5
    assert not files.has_failed
