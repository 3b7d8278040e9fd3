"""A manifest that is believed when it is damaged, foreign or newer would lead to the wrong files.

Its checksum stands in its own last line and in CURRENT; keys that this version does not know may change
what the others mean, so they are refused like a newer version.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pageann.errors import DamagedIndex, FormatTooNew, IndexNotFound, InvalidArgument
from pageann.storage.checksum import crc32c
from pageann.storage.directory import IndexDirectory, Pointer
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from tests.reference.sample_index import build_sample

SEGMENT = SegmentEntry(
    "seg-000007", 80, 32, "uint8", "l2", 2**64 - 1, {"pages.bin": FileEntry(8192, 5)}, {"levels": [1, 2]}
)
MANIFEST = Manifest(7, (SEGMENT,), {"memory": "30%"})


def sealed(content: object) -> bytes:
    """``content`` as a manifest whose checksum is right."""
    body = json.dumps(content).encode()
    return body + b"\ncrc32c %08x\n" % crc32c(body)


def content() -> dict[str, object]:
    """The JSON of :data:`MANIFEST`."""
    parsed: dict[str, object] = json.loads(MANIFEST.to_bytes().rsplit(b"\n", 2)[0])
    return parsed


def test_a_manifest_comes_back() -> None:
    assert Manifest.from_bytes(MANIFEST.to_bytes(), "m") == MANIFEST
    assert Manifest.from_bytes(sealed(content()), "m") == MANIFEST
    assert (MANIFEST.rows, MANIFEST.index_bytes) == (80, 8192)


def test_the_order_of_files_leaves_no_trace() -> None:
    files = {name: FileEntry(1, 2) for name in ("pages.bin", "codes.bin", "ids.bin")}
    there = SegmentEntry("seg-000001", 1, 1, "int8", "ip", 1, files)
    back = SegmentEntry("seg-000001", 1, 1, "int8", "ip", 1, dict(reversed(files.items())))
    assert Manifest(1, (there,)).to_bytes() == Manifest(1, (back,)).to_bytes()


def test_every_flipped_bit_is_found() -> None:
    data = MANIFEST.to_bytes()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(DamagedIndex):
            Manifest.from_bytes(bytes(damaged), "m")


def test_every_truncation_is_found() -> None:
    data = MANIFEST.to_bytes()
    for length in range(len(data)):
        with pytest.raises(DamagedIndex):
            Manifest.from_bytes(data[:length], "m")
    with pytest.raises(DamagedIndex):
        Manifest.from_bytes(data + b"\n", "m")


def test_a_newer_manifest_is_refused_as_such() -> None:
    with pytest.raises(FormatTooNew, match=r"format version 2 .* upgrade"):
        Manifest.from_bytes(sealed(content() | {"format_version": 2, "segments": "unreadable"}), "m")


@pytest.mark.parametrize("level", ["manifest", "segment", "file"])
def test_a_key_of_a_newer_version_is_refused(level: str) -> None:
    changed = json.loads(json.dumps(content()))
    places = {
        "manifest": changed,
        "segment": changed["segments"][0],
        "file": changed["segments"][0]["files"]["pages.bin"],
    }
    places[level]["tombstones"] = 1
    with pytest.raises(FormatTooNew, match="tombstones"):
        Manifest.from_bytes(sealed(changed), "m")


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{}]},
        {"segments": [SEGMENT.to_json() | {"name": "../other"}]},
        {"segments": [SEGMENT.to_json() | {"files": {"../../passwd": {"bytes": 1, "crc32c": "00000000"}}}]},
        {"segments": [SEGMENT.to_json() | {"tag": "12"}]},
        {"segments": [SEGMENT.to_json() | {"rows": "many"}]},
        {"version": None},
        {"format_version": "1"},
        {"format_version": 0},
    ],
)
def test_a_sealed_manifest_that_makes_no_sense_is_damaged(change: dict[str, object]) -> None:
    with pytest.raises(DamagedIndex):
        Manifest.from_bytes(sealed(content() | change), "m")
    with pytest.raises(DamagedIndex):
        Manifest.from_bytes(sealed([1, 2]), "m")


def test_names_that_lead_out_of_the_index_are_refused() -> None:
    for name in ("seg-1", "../seg-000001", "seg-000001/..", "/seg-000001"):
        with pytest.raises(InvalidArgument):
            SegmentEntry(name, 1, 1, "int8", "ip", 1, {})
    for name in ("", "..", ".hidden", "a/b", "a\n"):
        with pytest.raises(InvalidArgument):
            SegmentEntry("seg-000001", 1, 1, "int8", "ip", 1, {name: FileEntry(1, 2)})


def test_every_flipped_bit_of_current_is_found(tmp_path: Path) -> None:
    build_sample(tmp_path / "index")
    current = tmp_path / "index" / "CURRENT"
    data = current.read_bytes()
    assert Pointer.from_bytes(data) is not None
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        current.write_bytes(damaged)
        with pytest.raises(DamagedIndex):
            IndexDirectory(tmp_path / "index").current()
    for length in range(len(data)):
        current.write_bytes(data[:length])
        with pytest.raises(DamagedIndex):
            IndexDirectory(tmp_path / "index").current()


def test_a_manifest_under_the_name_of_another_is_found(tmp_path: Path) -> None:
    build_sample(tmp_path / "index")
    data = (tmp_path / "index" / "manifest-000001.json").read_bytes()
    (tmp_path / "index" / "manifest-000002.json").write_bytes(data)
    (tmp_path / "index" / "CURRENT").write_bytes(Pointer(2, crc32c(data)).to_bytes())
    with pytest.raises(DamagedIndex, match="describes version 1"):
        IndexDirectory(tmp_path / "index").current()


def test_what_is_no_index_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "rocks").mkdir()
    (tmp_path / "rocks" / "CURRENT").write_text("MANIFEST-000005\n")
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "file", "file/below", "rocks", "empty"):
        with pytest.raises(IndexNotFound) as caught:
            IndexDirectory(tmp_path / name).current()
        assert "\n" not in str(caught.value)
