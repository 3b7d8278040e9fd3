"""A second reader of the format, written from ``docs/FORMAT.md`` with NumPy alone.

It shares no line with ``pageann.storage`` and makes no attempt at speed: where the two disagree, one
of them or the document is wrong. Anything that is not as the document says raises ValueError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = ("<f4", "<f2", "|i1", "|u1")


def crc32c(data: bytes) -> int:
    """CRC32C with a table of one byte, straight from the definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _make_table() -> list[int]:
    reflected = int(f"{0x1EDC6F41:032b}"[::-1], 2)
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (reflected if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _make_table()


def demand(condition: bool, what: str) -> None:
    """Raise ValueError unless ``condition`` holds."""
    if not condition:
        raise ValueError(what)


@dataclass
class Page:
    """What one data page holds."""

    vectors: NDArray[Any]
    rows: NDArray[Any]
    links: NDArray[np.uint32]
    slots: NDArray[np.uint32]
    codes: NDArray[np.uint8]
    """uint8[representatives, code bytes]."""


@dataclass
class PageFile:
    """A page file: its pages, or what its raw pages carry."""

    header: dict[str, int]
    pages: list[Page] = field(default_factory=list)
    payload: bytes = b""


@dataclass
class IndexOnDisk:
    """An index: its manifest, and the bytes of each file."""

    manifest: dict[str, Any]
    files: dict[str, bytes]


def number(data: bytes, offset: int, width: int) -> int:
    """The unsigned number of ``width`` bytes at ``offset``."""
    return int.from_bytes(data[offset : offset + width], "little")


def read_index(path: Path) -> IndexOnDisk:
    """Follow CURRENT to the manifest and on to every file, with all lengths and checksums."""
    current = (path / "CURRENT").read_text("ascii")
    name, crc = current[:-1].split(" ")
    demand(current == f"{name} {crc}\n", "CURRENT is one line")
    data = (path / name).read_bytes()
    demand(f"{crc32c(data):08x}" == crc, "CURRENT has the checksum of the manifest")
    manifest = read_manifest(data)
    demand(name == f"manifest-{manifest['version']:06d}.json", "the manifest is of its name's version")
    files = {}
    for segment in manifest["segments"]:
        demand(
            set(segment) == {"name", "rows", "dim", "dtype", "metric", "tag", "files", "meta"}, "segment keys"
        )
        demand(
            sorted(segment["files"]) == sorted(p.name for p in (path / segment["name"]).iterdir()), "files"
        )
        for file_name, entry in segment["files"].items():
            content = (path / segment["name"] / file_name).read_bytes()
            demand(len(content) == entry["bytes"], f"{file_name} has the length in the manifest")
            demand(f"{crc32c(content):08x}" == entry["crc32c"], f"{file_name} has its checksum")
            files[f"{segment['name']}/{file_name}"] = content
    return IndexOnDisk(manifest, files)


def read_manifest(data: bytes) -> dict[str, Any]:
    """The JSON of a manifest whose last line is its checksum."""
    body, trailer = data[:-17], data[-17:]
    demand(trailer == b"\ncrc32c %08x\n" % crc32c(body), "the manifest ends in its checksum")
    manifest: dict[str, Any] = json.loads(body)
    demand(manifest["format_version"] == 1, "format version 1")
    demand(set(manifest) == {"format_version", "version", "segments", "options"}, "manifest keys")
    return manifest


def check_page_start(page: bytes, page_number: int, tag: int) -> tuple[int, int, int]:
    """The counts (vectors, links, representatives) of a page whose first 32 bytes are right."""
    demand(page[:4] == b"PGAN", "a page begins with PGAN")
    demand(number(page, 4, 4) == crc32c(page[8:]), f"page {page_number} has its checksum")
    demand(number(page, 8, 8) == page_number, f"page {page_number} has its number")
    demand(number(page, 22, 2) == 0, "no flags")
    demand(number(page, 24, 8) == tag, "the page has the tag of its segment")
    return number(page, 16, 2), number(page, 18, 2), number(page, 20, 2)


def read_page_file(data: bytes) -> PageFile:
    """All of a page file."""
    demand(number(data, 32, 4) == 1, "page file version 1")
    names = ("capacity", "dim", "dtype_code", "row_bytes", "link_capacity", "rep_capacity", "rep_code_bytes")
    header = {name: number(data, 48 + 4 * place, 4) for place, name in enumerate(names)}
    header |= {
        "page_bytes": number(data, 36, 4),
        "page_count": number(data, 40, 8),
        "tag": number(data, 24, 8),
    }
    page_bytes = header["page_bytes"]
    demand(len(data) == (header["page_count"] + 1) * page_bytes, "the file is as long as its header says")
    demand(check_page_start(data[:page_bytes], 2**64 - 1, header["tag"]) == (0, 0, 0), "header counts")
    demand(not any(data[76:page_bytes]), "the rest of the header page is zero")
    file = PageFile(header)
    for p in range(header["page_count"]):
        page = data[(p + 1) * page_bytes : (p + 2) * page_bytes]
        counts = check_page_start(page, p, header["tag"])
        if header["capacity"] == 0:
            demand(counts == (0, 0, 0), "raw pages have no counts")
            file.payload += page[32:]
        else:
            file.pages.append(read_page(page, counts, header))
    return file


def read_page(page: bytes, counts: tuple[int, int, int], header: dict[str, int]) -> Page:
    """What a data page holds, whose unused places must be zero."""
    capacity, row_bytes = header["capacity"], header["row_bytes"]
    dtype = np.dtype(DTYPES[header["dtype_code"]])
    at = 32
    vectors = np.frombuffer(page, dtype, capacity * header["dim"], at).reshape(capacity, header["dim"])
    at += vectors.nbytes
    at += -at % row_bytes
    rows = np.frombuffer(page, f"<u{row_bytes}", capacity, at)
    at += rows.nbytes
    links = np.frombuffer(page, "<u4", header["link_capacity"], at)
    at += links.nbytes
    slots = np.frombuffer(page, "<u4", header["rep_capacity"], at)
    at += slots.nbytes
    codes = np.zeros((header["rep_capacity"], header["rep_code_bytes"]), np.uint8)
    for first in range(0, header["rep_capacity"], 32):
        lanes = min(32, header["rep_capacity"] - first)
        for m in range(header["rep_code_bytes"]):
            for lane in range(lanes):
                codes[first + lane, m] = page[at + m * lanes + lane]
        at += lanes * header["rep_code_bytes"]
    demand(not any(page[at:]), "what follows the codes is zero")
    n, link_count, rep_count = counts
    for unused in (vectors[n:], rows[n:], links[link_count:], slots[rep_count:], codes[rep_count:]):
        demand(not unused.tobytes().strip(b"\0"), "places from the count on are zero")
    return Page(vectors[:n], rows[:n], links[:link_count], slots[:rep_count], codes[:rep_count])


def read_bundle(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(meta, arrays) of a bundle."""
    demand(data[:8] == b"PGBUNDLE", "a bundle begins with PGBUNDLE")
    demand(number(data, 8, 4) == 1 and number(data, 12, 4) == 0, "bundle version 1 without flags")
    demand(number(data, 60, 4) == crc32c(data[:60]), "the header has its checksum")
    demand(not any(data[36:40]) and not any(data[48:60]), "the rest of the header is zero")
    demand(number(data, 40, 8) == len(data), "the file is as long as its header says")
    offset, length = number(data, 16, 8), number(data, 24, 8)
    directory = data[offset : offset + length]
    demand(offset + length == len(data), "the directory ends with the file")
    demand(number(data, 32, 4) == crc32c(directory), "the directory has its checksum")
    content = json.loads(directory)
    arrays = {}
    for name, entry in content["arrays"].items():
        raw = data[entry["offset"] : entry["offset"] + entry["bytes"]]
        demand(entry["offset"] % 64 == 0, "arrays lie at multiples of 64")
        demand(f"{crc32c(raw):08x}" == entry["crc32c"], f"array {name} has its checksum")
        arrays[name] = np.frombuffer(raw, entry["dtype"]).reshape(entry["shape"])
    return content["meta"], arrays
