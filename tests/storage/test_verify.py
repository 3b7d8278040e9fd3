"""`verify` is what a user trusts after a disk has failed: it may miss nothing, and must say where it is.

Every single flipped bit, cut, extension, swap, missing and stray file of an index must be reported.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pageann.errors import DamagedIndex, FormatTooNew, IndexNotFound
from pageann.storage.bundle import BundleWriter
from pageann.storage.checksum import crc32c
from pageann.storage.directory import IndexDirectory, Pointer
from pageann.storage.files import OsFiles
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from pageann.storage.pagefile import PageFileWriter
from pageann.storage.pages import set_counts
from pageann.storage.verify import Damage, verify
from tests.reference.sample_index import TAG, build_sample, sample_layout, sample_pages

PAGE_BYTES = 4096


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A sound index."""
    build_sample(tmp_path / "index", 1)
    return tmp_path / "index"


def all_files(index: Path) -> list[Path]:
    """Every file of an index."""
    return sorted(path for path in index.rglob("*") if path.is_file())


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def swap_pages(path: Path, first: int, second: int) -> None:
    """Exchange two data pages of a file."""
    pages = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, PAGE_BYTES).copy()
    pages[[first + 1, second + 1]] = pages[[second + 1, first + 1]]
    path.write_bytes(pages.tobytes())


def publish(path: Path, name: str, entry_of: FileEntry) -> None:
    """A hand-made index around one file that is in place already."""
    manifest = Manifest(1, (SegmentEntry("seg-000001", 80, 32, "uint8", "l2", TAG, {name: entry_of}),))
    data = manifest.to_bytes()
    (path / "manifest-000001.json").write_bytes(data)
    (path / "CURRENT").write_bytes(Pointer(1, crc32c(data)).to_bytes())


def test_a_sound_index_is_sound(index: Path) -> None:
    assert verify(index) == []
    assert verify(str(index)) == []


def test_each_of_many_flipped_bits_is_found_in_its_file(index: Path) -> None:
    files = all_files(index)
    sizes = np.array([path.stat().st_size for path in files])
    generator = np.random.default_rng(11)
    flips = [
        (path, bit)
        for path, size in zip(files, sizes, strict=True)
        for bit in generator.integers(0, 8 * size, 60)
    ]
    flips += [(path, bit) for path in files for bit in (0, 8 * path.stat().st_size - 1)]
    for path, bit in flips:
        flip(path, int(bit))
        found = verify(index)
        flip(path, int(bit))
        assert [damage.file for damage in found] == [path.relative_to(index).as_posix()], (path, bit)
        if path.name == "pages.bin" and bit >= 8 * PAGE_BYTES:
            assert found[0].page == bit // 8 // PAGE_BYTES - 1
    assert verify(index) == []


def test_every_truncation_and_extension_is_found(index: Path) -> None:
    for path in all_files(index):
        data = path.read_bytes()
        for changed in (
            data[:-1],
            data[: len(data) // 2],
            data[:-PAGE_BYTES],
            data + b"\0",
            data + data,
            b"",
        ):
            path.write_bytes(changed)
            found = verify(index)
            assert found, (path, len(changed))
            assert {damage.file for damage in found} == {path.relative_to(index).as_posix()}
        path.write_bytes(data)


def test_every_swapped_pair_of_pages_is_found(index: Path) -> None:
    path = index / "seg-000001" / "pages.bin"
    for first, second in ((0, 1), (0, 3), (1, 2), (2, 3)):
        swap_pages(path, first, second)
        assert verify(index) == [
            Damage("seg-000001/pages.bin", page, "another page lies in its place") for page in (first, second)
        ]
        swap_pages(path, first, second)


def test_files_that_are_missing_stray_or_exchanged_are_found(index: Path) -> None:
    segment = index / "seg-000001"
    (index / "notes.txt").write_text("mine")
    (segment / "extra.bin").write_text("mine")
    assert [damage.file for damage in verify(index)] == ["notes.txt", "seg-000001/extra.bin"]
    (index / "notes.txt").unlink()
    (segment / "extra.bin").unlink()
    (segment / "ids.bin").rename(index.parent / "ids.bin")
    assert verify(index) == [Damage("seg-000001/ids.bin", -1, "the file is missing")]
    shutil.copy(segment / "vectors.bin", segment / "ids.bin")
    assert verify(index)
    shutil.rmtree(segment)
    assert verify(index) == [Damage("seg-000001", -1, "the folder is missing")]


def test_leftovers_of_a_build_are_no_damage(index: Path) -> None:
    for name in ("seg-000002.tmp", "seg-000002", "scratch.tmp"):
        (index / name).mkdir()
    for name in ("manifest-000002.json", "manifest-000002.json.tmp", "CURRENT.tmp", "LOCK"):
        (index / name).write_text("half")
    assert verify(index) == []


def test_a_whole_file_of_another_index_is_found(index: Path, tmp_path: Path) -> None:
    layout = sample_layout(tag=TAG + 1)
    with PageFileWriter(OsFiles(), index / "seg-000001" / "pages.bin", layout) as writer:
        writer.append(sample_pages(layout, 4, seed=1)[0])
        writer.close()
    assert verify(index) == [Damage("seg-000001/pages.bin", -1, "the file belongs to another index")]


def test_a_bad_array_is_named(index: Path) -> None:
    path = index / "seg-000001" / "codes.bin"
    flip(path, 8 * 64)
    assert verify(index) == [Damage("seg-000001/codes.bin", -1, "array 'codes' does not match its checksum")]


def test_counts_beyond_their_places_are_found_under_right_checksums(tmp_path: Path) -> None:
    (tmp_path / "seg-000001").mkdir()
    layout = sample_layout()
    pages = sample_pages(layout, 3, seed=1)[0]
    set_counts(pages[1:2], layout.capacity, layout.link_capacity + 1, 0)
    with PageFileWriter(OsFiles(), tmp_path / "seg-000001" / "pages.bin", layout) as writer:
        writer.append(pages)
        publish(tmp_path, "pages.bin", FileEntry(*writer.close()))
    assert verify(tmp_path) == [
        Damage("seg-000001/pages.bin", 1, "it claims more entries than it has places")
    ]


def test_a_file_longer_than_a_block_is_checked_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "seg-000001").mkdir()
    path = tmp_path / "seg-000001" / "pages.bin"
    layout = sample_layout()
    with PageFileWriter(OsFiles(), path, layout) as writer:
        for _ in range(3):
            writer.append(np.zeros((700, PAGE_BYTES), np.uint8))
        publish(tmp_path, "pages.bin", FileEntry(*writer.close()))
    assert verify(tmp_path) == []
    for page in (0, 1022, 1023, 1024, 2099):
        flip(path, 8 * ((page + 1) * PAGE_BYTES + 2000))
        assert [damage.page for damage in verify(tmp_path)] == [page]
        flip(path, 8 * ((page + 1) * PAGE_BYTES + 2000))
    data = path.read_bytes()
    path.write_bytes(data[:PAGE_BYTES] + bytes(len(data) - PAGE_BYTES))
    assert len(verify(tmp_path)) == 1000


def test_damage_reads_like_a_line_of_a_report() -> None:
    assert str(Damage("seg-000001/pages.bin", 7, "it is torn")) == "seg-000001/pages.bin: page 7: it is torn"
    assert str(Damage("CURRENT", -1, "it is torn")) == "CURRENT: it is torn"


def test_what_cannot_be_verified_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        verify(tmp_path / "nothing")
    (tmp_path / "seg-000001").mkdir()
    with BundleWriter(OsFiles(), tmp_path / "seg-000001" / "codes.bin", {}) as writer:
        said = writer.close()
    path = tmp_path / "seg-000001" / "codes.bin"
    data = bytearray(path.read_bytes())
    data[8] = 2
    data[60:64] = crc32c(data[:60]).to_bytes(4, "little")
    path.write_bytes(data)
    publish(tmp_path, "codes.bin", FileEntry(said[0], crc32c(data)))
    with pytest.raises(FormatTooNew):
        verify(tmp_path)


def test_a_version_replaced_meanwhile_is_not_reported(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_current, calls = IndexDirectory.current, []

    def current_then_replaced(self: IndexDirectory) -> Manifest:
        manifest = real_current(self)
        calls.append(manifest.version)
        if len(calls) == 1:
            monkeypatch.undo()
            build_sample(index, 2)
        return manifest

    monkeypatch.setattr(IndexDirectory, "current", current_then_replaced)
    assert verify(index) == []
    assert calls == [1]


def test_a_damaged_manifest_is_reported_as_its_file(index: Path) -> None:
    flip(index / "manifest-000001.json", 100)
    with pytest.raises(DamagedIndex):
        IndexDirectory(index).current()
    (damage,) = verify(index)
    assert damage.file == "manifest-000001.json"
    assert str(index) not in damage.what
