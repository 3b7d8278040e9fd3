"""A build must never remove or mix with what somebody else keeps in a folder.

Only an index, its leftovers and an empty folder may be built into; and only what carries a name that
PageANN gives is ever removed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pageann.errors import FormatTooNew, IndexExists, InvalidArgument
from pageann.storage.checksum import crc32c
from pageann.storage.directory import IndexDirectory, Pointer
from pageann.storage.files import OsFiles
from pageann.storage.verify import verify
from tests.reference.crash_disk import read_tree
from tests.reference.sample_index import build_sample, publish_sample, sample_segment, write_sample_files


@pytest.mark.parametrize("name", ["notes.txt", "CURRENT", "seg-1", "manifest.json", ".hidden"])
def test_a_folder_with_something_else_is_refused_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("MANIFEST-000005\n")
    before = read_tree(tmp_path)
    with pytest.raises(IndexExists, match=name):
        build_sample(tmp_path / "folder")
    assert read_tree(tmp_path) == before


def test_a_file_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("text")
    with pytest.raises(IndexExists, match="is a file"):
        build_sample(tmp_path / "index")
    assert (tmp_path / "index").read_text() == "text"


def test_an_index_is_not_replaced_against_the_users_will(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    before = read_tree(tmp_path)
    with (
        pytest.raises(IndexExists, match="already"),
        IndexDirectory(tmp_path / "index").writer(replace=False),
    ):
        pytest.fail("the writer was let in")
    assert read_tree(tmp_path) == before


def test_without_replacing_a_new_index_and_one_over_leftovers_are_built(tmp_path: Path) -> None:
    (tmp_path / "index" / "seg-000001.tmp").mkdir(parents=True)
    with IndexDirectory(tmp_path / "index").writer(replace=False) as writer:
        publish_sample(writer, OsFiles(), 1)
    assert verify(tmp_path / "index") == []


def test_a_file_of_the_user_beside_an_index_survives_a_new_version(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    (tmp_path / "index" / "notes.txt").write_text("mine")
    assert build_sample(tmp_path / "index", 2).version == 2
    assert (tmp_path / "index" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("victim", ["CURRENT", "manifest-000001.json", "seg-000001/pages.bin"])
def test_a_damaged_index_can_be_built_again(tmp_path: Path, victim: str) -> None:
    build_sample(tmp_path / "index", 1)
    (tmp_path / "index" / victim).write_text("damage")
    before = read_tree(tmp_path)
    with pytest.raises(ZeroDivisionError), IndexDirectory(tmp_path / "index").writer():
        raise ZeroDivisionError
    assert read_tree(tmp_path) == before, "a failed build over a damaged index removes nothing"
    assert build_sample(tmp_path / "index", 2).version == 2
    assert verify(tmp_path / "index") == []
    assert len(list((tmp_path / "index").iterdir())) == 3


def test_an_index_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    manifest = tmp_path / "index" / "manifest-000001.json"
    body = manifest.read_bytes().rsplit(b"\n", 2)[0].replace(b'"format_version": 1', b'"format_version": 2')
    data = body + b"\ncrc32c %08x\n" % crc32c(body)
    manifest.write_bytes(data)
    (tmp_path / "index" / "CURRENT").write_bytes(Pointer(1, crc32c(data)).to_bytes())
    before = read_tree(tmp_path)
    with pytest.raises(FormatTooNew):
        build_sample(tmp_path / "index", 2)
    assert read_tree(tmp_path) == before


def test_a_segment_that_is_not_what_it_lists_is_not_published(tmp_path: Path) -> None:
    files = OsFiles()
    with IndexDirectory(tmp_path / "index").writer() as writer:
        entries = write_sample_files(files, writer.segment_path, 1)
        sound = sample_segment(writer.segment_name, entries, 1)
        with pytest.raises(InvalidArgument, match="seg-000002"):
            writer.publish(sample_segment("seg-000002", entries, 1), {})
        with pytest.raises(InvalidArgument, match="lists"):
            writer.publish(sample_segment(writer.segment_name, {"pages.bin": entries["pages.bin"]}, 1), {})
        (writer.segment_path / "ids.bin").write_bytes(b"short")
        with pytest.raises(InvalidArgument, match=r"ids\.bin is 5 bytes"):
            writer.publish(sound, {})
    assert not (tmp_path / "index").exists()
