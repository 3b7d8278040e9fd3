"""A reader that has read CURRENT may find the version that it names removed by a build that just ended.

It must then look again and open the new version; only if CURRENT still names the same one is the index
damaged.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pageann.errors import DamagedIndex, StorageError
from pageann.storage.bundle import Bundle
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import OsFiles
from pageann.storage.manifest import Manifest
from tests.reference.sample_index import build_sample


class ReplacedOnRead(OsFiles):
    """Publishes a new version right before the manifest is read, ``times`` times."""

    def __init__(self, index: Path, times: int) -> None:
        self._index = index
        self._times = times

    def read(self, path: Path) -> bytes:
        if path.name.startswith("manifest") and self._times > 0:
            self._times -= 1
            build_sample(self._index, 5)
        return super().read(path)


@pytest.mark.parametrize("times", [1, 3])
def test_a_reader_follows_to_the_new_version(tmp_path: Path, times: int) -> None:
    build_sample(tmp_path / "index", 1)
    manifest = IndexDirectory(tmp_path / "index", ReplacedOnRead(tmp_path / "index", times)).current()
    assert manifest.version == 1 + times


def test_a_reader_gives_up_after_many_versions(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    with pytest.raises(StorageError, match="replaced faster"):
        IndexDirectory(tmp_path / "index", ReplacedOnRead(tmp_path / "index", 1000)).current()


def test_a_manifest_that_is_missing_for_good_is_damage(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    (tmp_path / "index" / "manifest-000001.json").unlink()
    with pytest.raises(DamagedIndex, match="missing"):
        IndexDirectory(tmp_path / "index").current()


def test_opening_the_files_of_a_replaced_version_starts_again(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    directory = IndexDirectory(tmp_path / "index")
    seen = []

    def open_codes(manifest: Manifest) -> Bundle:
        seen.append(manifest.version)
        if len(seen) == 1:
            build_sample(tmp_path / "index", 2)
        return Bundle.open(directory.file_path(manifest.segments[0], "codes.bin"))

    with directory.open_current(open_codes) as bundle:
        assert bundle.meta == {"seed": 2}
    assert seen == [1, 2]


def test_an_error_that_no_new_version_explains_is_raised_at_once(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    (tmp_path / "index" / "seg-000001" / "codes.bin").unlink()
    directory, calls = IndexDirectory(tmp_path / "index"), []

    def open_codes(manifest: Manifest) -> Bundle:
        calls.append(manifest.version)
        return Bundle.open(directory.file_path(manifest.segments[0], "codes.bin"))

    with pytest.raises(StorageError):
        directory.open_current(open_codes)
    assert calls == [1]


def test_an_index_may_be_moved(tmp_path: Path) -> None:
    build_sample(tmp_path / "index", 1)
    (tmp_path / "index").rename(tmp_path / "elsewhere")
    directory = IndexDirectory(tmp_path / "elsewhere")
    segment = directory.current().segments[0]
    with Bundle.open(directory.file_path(segment, "codes.bin")) as bundle:
        assert bundle.meta == {"seed": 1}
