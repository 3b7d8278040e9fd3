"""Code, document and files on users' disks drift apart unless something holds them together.

The second reader (``tests/reference/format_reader.py``) is written from ``docs/FORMAT.md`` alone; it must
read what the code writes. An index of format version 1 is kept beside this test: every release must read
it, and the code of version 1 must still write it byte for byte.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from pageann.storage import bundle, format, manifest
from pageann.storage.bundle import Bundle, BundleWriter
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import OsFiles
from pageann.storage.format import PageLayout
from pageann.storage.manifest import FileEntry, SegmentEntry
from pageann.storage.pagefile import PageFileWriter, RawFileWriter
from pageann.storage.pages import set_counts
from pageann.storage.verify import verify
from tests.reference import format_reader
from tests.reference.crash_disk import read_tree
from tests.reference.sample_index import TAG, build_sample, place, sample_layout, sample_pages

GOLDEN = Path(__file__).parent / "golden" / "format-1"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text("utf-8")

LAYOUTS = [
    sample_layout(),
    PageLayout(4096, 9, 33, 0, 8, 7, 33, 5, 0),
    PageLayout(8192, 5, 101, 1, 4, 0, 64, 28, 1),
    PageLayout(16384, 3, 1021, 2, 8, 11, 1, 32, 2**64 - 1),
    PageLayout.of_vectors(65536, 1, 8192, np.dtype(np.float32), 4, 3),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_second_reader_reads_page_files(tmp_path: Path, layout: PageLayout) -> None:
    pages, contents = sample_pages(layout, 4, seed=12)
    with PageFileWriter(OsFiles(), tmp_path / "pages.bin", layout) as writer:
        writer.append(pages)
        writer.close()
    file = format_reader.read_page_file((tmp_path / "pages.bin").read_bytes())
    assert file.header == {name: getattr(layout, name) for name in file.header if name != "page_count"} | {
        "page_count": 4
    }
    for page, content in zip(file.pages, contents, strict=True):
        for name, expected in content.items():
            np.testing.assert_array_equal(getattr(page, name), expected, err_msg=name)


def test_the_second_reader_reads_an_index(tmp_path: Path) -> None:
    written = build_sample(tmp_path / "index", 3)
    found = format_reader.read_index(tmp_path / "index")
    assert found.manifest["segments"] == [segment.to_json() for segment in written.segments]
    assert found.manifest["options"] == {"seed": 3}
    ids = np.random.default_rng(3).integers(0, 2**60, 700)
    payload = format_reader.read_page_file(found.files["seg-000001/ids.bin"]).payload
    np.testing.assert_array_equal(np.frombuffer(payload, "<i8", 700), ids)
    meta, arrays = format_reader.read_bundle(found.files["seg-000001/codes.bin"])
    assert meta == {"seed": 3}
    with Bundle.open(tmp_path / "index" / "seg-000001" / "codes.bin") as opened:
        assert opened.names() == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(opened.read(name), array)


@pytest.mark.parametrize("name", ["pages.bin", "ids.bin", "codes.bin"])
def test_the_second_reader_refuses_damage(tmp_path: Path, name: str) -> None:
    """A reader that reads anything would hold nothing together."""
    build_sample(tmp_path / "index", 3)
    data = (tmp_path / "index" / "seg-000001" / name).read_bytes()
    read = format_reader.read_bundle if name == "codes.bin" else format_reader.read_page_file
    read(data)
    for byte in (5, 40, 64, 4096 + 40, len(data) - 1):
        damaged = bytearray(data)
        damaged[byte % len(data)] ^= 4
        with pytest.raises(ValueError, match=r"."):
            read(bytes(damaged))


def write_golden(path: Path) -> None:
    """The golden index: small, with no random numbers, which may change with NumPy."""
    files = OsFiles()
    layout = PageLayout(4096, 10, 16, 3, 4, 5, 34, 3, TAG)
    count = {"vectors": 6, "links": 3, "slots": 34}
    content = {
        "vectors": np.arange(6 * 16, dtype=np.uint8).reshape(6, 16),
        "rows": np.arange(100, 106, dtype="<u4"),
        "links": np.array([0, 7, 2**32 - 1], "<u4"),
        "slots": np.arange(34, dtype="<u4") * 1000,
        "codes": np.arange(34 * 3, dtype=np.uint8).reshape(34, 3),
    }
    page = np.zeros((1, 4096), np.uint8)
    place(page[0], layout, content)
    set_counts(page, *count.values())
    entries = {}
    with IndexDirectory(path).writer() as writer:
        with PageFileWriter(files, writer.segment_path / "pages.bin", layout) as pages_file:
            pages_file.append(page)
            entries["pages.bin"] = FileEntry(*pages_file.close())
        with RawFileWriter(files, writer.segment_path / "ids.bin", 4096, TAG) as ids_file:
            ids_file.write(b"photo-1,photo-2")
            entries["ids.bin"] = FileEntry(*ids_file.close())
        with BundleWriter(files, writer.segment_path / "codes.bin", {"scale": 0.1}) as codes_file:
            codes_file.write("centroids", np.arange(6, dtype=np.float32).reshape(2, 3) / 3)
            codes_file.write("codes", np.arange(10, dtype=np.uint8))
            entries["codes.bin"] = FileEntry(*codes_file.close())
        segment = SegmentEntry(writer.segment_name, 6, 16, "uint8", "l2", TAG, entries, {"levels": [1, 2]})
        writer.publish(segment, {"memory": "30%", "seed": 0})


def test_an_index_of_format_1_is_still_read() -> None:
    assert verify(GOLDEN) == []
    current = IndexDirectory(GOLDEN).current()
    assert (current.version, current.rows) == (1, 6)
    assert current.options == {"memory": "30%", "seed": 0}
    assert current.segments[0].meta == {"levels": [1, 2]}
    with Bundle.open(GOLDEN / "seg-000001" / "codes.bin") as opened:
        assert opened.meta == {"scale": 0.1}
        np.testing.assert_array_equal(opened.read("codes"), np.arange(10))
    files = format_reader.read_index(GOLDEN).files
    page = format_reader.read_page_file(files["seg-000001/pages.bin"]).pages[0]
    np.testing.assert_array_equal(page.vectors.reshape(-1), np.arange(96))
    np.testing.assert_array_equal(page.codes.reshape(-1), np.arange(102))
    assert page.rows.tolist() == list(range(100, 106))
    payload = format_reader.read_page_file(files["seg-000001/ids.bin"]).payload
    assert payload.rstrip(b"\0") == b"photo-1,photo-2"


def test_format_1_is_still_written_byte_for_byte(tmp_path: Path) -> None:
    write_golden(tmp_path / "index")
    assert read_tree(tmp_path / "index") == read_tree(GOLDEN)


def test_the_document_names_the_numbers_of_the_code() -> None:
    assert f"format version {manifest.FORMAT_VERSION}." in DOCUMENT
    assert format.PAGE_FILE_VERSION == bundle.BUNDLE_VERSION == manifest.FORMAT_VERSION == 1
    assert format.PAGE_MAGIC.to_bytes(4, "little").decode() == "PGAN"
    assert f"the bytes `{bundle.BUNDLE_MAGIC.decode()}`" in DOCUMENT
    drawn = re.findall(r"^ byte +(.+)$", DOCUMENT, re.MULTILINE)
    page_offsets, header_offsets, bundle_offsets = (
        [int(number) for number in line.split()] for line in drawn
    )
    assert page_offsets == [0, *np.cumsum([struct.calcsize(f"<{c}") for c in "IIQHHHHQ"])]
    assert page_offsets[:-1] == [
        format.MAGIC_OFFSET,
        format.CRC_OFFSET,
        format.NUMBER_OFFSET,
        format.VECTOR_COUNT_OFFSET,
        format.LINK_COUNT_OFFSET,
        format.REP_COUNT_OFFSET,
        format.FLAGS_OFFSET,
        format.TAG_OFFSET,
    ]
    assert header_offsets == [32, *(32 + np.cumsum([struct.calcsize(f"<{c}") for c in "IIQIIIIIII"]))]
    assert bundle_offsets == [0, 8, 12, 16, 24, 32, 36, 40, 48, 60, 64]
