"""A small index with one file of every kind, whose bytes follow from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.storage.bundle import BundleWriter
from pageann.storage.directory import IndexDirectory
from pageann.storage.files import Files, OsFiles
from pageann.storage.format import CHUNK_LANES, PageLayout
from pageann.storage.manifest import FileEntry, Manifest, SegmentEntry
from pageann.storage.pagefile import PageFileWriter, RawFileWriter
from pageann.storage.pages import set_counts
from pageann.storage.writer import IndexWriter

TAG = 0xFEDCBA9876543210


def sample_layout(tag: int = TAG) -> PageLayout:
    """Pages of 20 vectors of 32 uint8, with links and two chunks of representatives."""
    return PageLayout(4096, 20, 32, 3, 4, 25, 45, 8, tag)


def random_numbers(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Numbers of any bits that are not NaN."""
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def sample_pages(
    layout: PageLayout, page_count: int, seed: int
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """(pages to append, what lies on each): random content, random counts, the last page full."""
    generator = np.random.default_rng(seed)
    pages = np.zeros((page_count, layout.page_bytes), np.uint8)
    contents = []
    for page in pages:
        full = len(contents) == page_count - 1
        counts = [
            places if full else int(generator.integers(0, places + 1))
            for places in (layout.capacity, layout.link_capacity, layout.rep_capacity)
        ]
        content = {
            "vectors": random_numbers(generator, (counts[0], layout.dim), layout.dtype),
            "rows": random_numbers(generator, (counts[0],), np.dtype(f"u{layout.row_bytes}")),
            "links": random_numbers(generator, (counts[1],), np.dtype("u4")),
            "slots": random_numbers(generator, (counts[2],), np.dtype("u4")),
            "codes": random_numbers(generator, (counts[2], layout.rep_code_bytes), np.dtype("u1")),
        }
        place(page, layout, content)
        set_counts(page[None], *counts)
        contents.append(content)
    return pages, contents


def place(page: NDArray[np.uint8], layout: PageLayout, content: dict[str, NDArray[Any]]) -> None:
    """Put the arrays of one page where the layout says."""
    for name, offset in (
        ("vectors", layout.vectors_offset),
        ("rows", layout.rows_offset),
        ("links", layout.links_offset),
        ("slots", layout.rep_slots_offset),
    ):
        raw = np.frombuffer(content[name].tobytes(), np.uint8)
        page[offset : offset + raw.size] = raw
    for chunk in range(layout.rep_chunk_count):
        offset, lanes = layout.rep_chunk(chunk)
        codes = content["codes"][chunk * CHUNK_LANES : chunk * CHUNK_LANES + lanes]
        block = page[offset : offset + lanes * layout.rep_code_bytes].reshape(layout.rep_code_bytes, lanes)
        block[:, : len(codes)] = codes.T


def write_sample_files(files: Files, folder: Path, seed: int) -> dict[str, FileEntry]:
    """One file of every kind in ``folder``; what they are."""
    generator = np.random.default_rng(seed)
    layout = sample_layout()
    entries = {}
    with PageFileWriter(files, folder / "pages.bin", layout) as pages_file:
        pages = sample_pages(layout, 4, seed)[0]
        pages_file.append(pages[:1])
        pages_file.append(pages[1:])
        entries["pages.bin"] = FileEntry(*pages_file.close())
    exact = PageLayout.of_vectors(8192, 1, 1500, np.dtype(np.float32), 8, TAG)
    with PageFileWriter(files, folder / "vectors.bin", exact) as vectors_file:
        vectors_file.append(sample_pages(exact, 2, seed)[0])
        entries["vectors.bin"] = FileEntry(*vectors_file.close())
    with RawFileWriter(files, folder / "ids.bin", 4096, TAG) as ids_file:
        ids_file.write(generator.integers(0, 2**60, 700))
        entries["ids.bin"] = FileEntry(*ids_file.close())
    with BundleWriter(files, folder / "codes.bin", {"seed": seed}) as bundle:
        bundle.write("codes", generator.integers(0, 256, (16, 7), np.uint8))
        bundle.write("centroids", generator.standard_normal((3, 5)).astype(np.float32))
        entries["codes.bin"] = FileEntry(*bundle.close())
    return entries


def sample_segment(name: str, files: dict[str, FileEntry], seed: int) -> SegmentEntry:
    """The segment that :func:`write_sample_files` wrote."""
    return SegmentEntry(name, 80, 32, "uint8", "l2", TAG, files, {"seed": seed})


def publish_sample(writer: IndexWriter, files: Files, seed: int) -> Manifest:
    """Write and publish the sample through an open writer."""
    entries = write_sample_files(files, writer.segment_path, seed)
    return writer.publish(sample_segment(writer.segment_name, entries, seed), {"seed": seed})


def build_sample(path: Path, seed: int = 0, files: Files | None = None) -> Manifest:
    """Build the sample index at ``path``, over the file layer ``files``."""
    layer = OsFiles() if files is None else files
    with IndexDirectory(path, layer).writer() as writer:
        return publish_sample(writer, layer, seed)
