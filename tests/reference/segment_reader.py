"""What the files of a segment mean, read as ``docs/FORMAT.md`` tells, with NumPy alone.

Built on the containers of :mod:`tests.reference.format_reader`; like it, it shares no line with the
package. Scores are summed in double precision. Anything that is not as the document says raises
ValueError.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.format_reader import Page, PageFile, demand, read_bundle, read_page_file

LANES = 32
KEYS_OF_PAGE = 508

Doubles = NDArray[np.float64]


@dataclass
class Quantiser:
    """What turns codes into vectors."""

    rotation: Doubles
    words: list[Doubles]
    """(16, length) of each part, or (256, length)."""
    factor: tuple[float, float] | None = None
    """(low, step) of the factors of codes, where they have one."""

    @property
    def code_bytes(self) -> int:
        """Bytes of a code, without its constant."""
        parts = len(self.words)
        return parts if len(self.words[0]) == 256 else (parts + 1) // 2 + (self.factor is not None)

    def turned(self, codes: NDArray[np.uint8]) -> Doubles:
        """What each code stands for before it is turned back, (n, dim)."""
        factors = np.ones(len(codes))
        if self.factor is not None:
            factors = self.factor[0] + self.factor[1] * codes[:, -1].astype(np.float64)
            codes = codes[:, :-1]
        numbers = codes
        if len(self.words[0]) == 16:
            numbers = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
            demand(not numbers[:, len(self.words) :].any(), "half a byte without a part is 0")
        beside = np.concatenate([words[numbers[:, p]] for p, words in enumerate(self.words)], axis=1)
        return beside.reshape(len(codes), -1, len(self.rotation)).sum(axis=1) * factors[:, None]

    def vectors(self, codes: NDArray[np.uint8]) -> Doubles:
        """What each code stands for, (n, dim)."""
        return self.turned(codes) @ self.rotation

    def rounding(self, query: Doubles, *, squares: bool) -> float:
        """How far estimates may be off whose terms were rounded to 8 bits."""
        turned = self.rotation @ query
        ranges = []
        for (first, last), words in zip(self._bounds(), self.words, strict=True):
            part = turned[first % len(turned) :][: last - first]
            terms = ((words - part) ** 2).sum(axis=1) if squares else -2 * words @ part
            ranges.append(terms.max() - terms.min())
        largest = 1.0 if self.factor is None else self.factor[0] + 255 * self.factor[1]
        return float(max(ranges)) / 255 / 2 * len(self.words) * largest

    def _bounds(self) -> list[tuple[int, int]]:
        ends = np.cumsum([0, *(words.shape[1] for words in self.words)]).tolist()
        return list(pairwise(ends))


@dataclass
class Coded:
    """A bundle of codes, or of what codes elsewhere are made with."""

    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    quantiser: Quantiser

    def records(self, first: int, count: int, group: int) -> NDArray[np.uint8]:
        """``count`` records (count, code bytes + 1) from byte ``first`` of the codes on, in groups."""
        width = self.quantiser.code_bytes + 1
        data = self.arrays["codes"][first : first + -(-count // group) * group * width]
        found, at = [], 0
        while at < len(data):
            for lane in range(0, group, LANES):
                lanes = min(LANES, group - lane)
                found.append(data[at : at + lanes * width].reshape(width, lanes).T)
                at += lanes * width
        records = np.concatenate(found)
        demand(not records[count:].any(), "places without a record are zero")
        return records[:count]

    def constants(self, records: NDArray[np.uint8]) -> Doubles:
        """What the constant bytes of vectors stand for."""
        return np.asarray(self.meta["low"] + self.meta["step"] * records[:, -1].astype(np.float64))


@dataclass
class Segment:
    """One segment: its entry in the manifest, and its files."""

    entry: Mapping[str, Any]
    pages: PageFile
    exact: PageFile
    """The file with the vectors as given: ``pages`` again unless the segment is quantised."""
    router: Coded
    codes: dict[int, Coded]
    reps: Coded | None
    id_bytes: bytes
    calibration: Mapping[str, Any]
    pin_order: NDArray[np.int32]
    copies: list[Page]
    """The pages of copies, which are not among ``pages``."""
    copy_of_slot: NDArray[np.int64]
    """Which of them has the vector of each slot too; -1 for none."""

    @property
    def shape(self) -> Mapping[str, Any]:
        """What is stored where."""
        found: Mapping[str, Any] = self.entry["meta"]["shape"]
        return found

    @property
    def group_slots(self) -> int:
        """Slots of a group."""
        return int(self.shape["capacity"] * self.shape["group_pages"])

    def rows_of_slots(self) -> NDArray[np.int64]:
        """The row in each slot, the same in both page files."""
        rows = np.concatenate([page.rows for page in self.pages.pages]).astype(np.int64)
        exact = np.concatenate([page.rows for page in self.exact.pages])
        demand(bool((rows == exact).all()), "both files hold the rows in the order of the slots")
        demand(sorted(rows.tolist()) == list(range(self.entry["rows"])), "each row lies in one slot")
        return rows

    def vectors(self) -> NDArray[Any]:
        """All vectors as given, by row."""
        stored = np.concatenate([page.vectors for page in self.exact.pages])
        vectors = np.empty_like(stored)
        vectors[self.rows_of_slots()] = stored
        return vectors

    def quantised(self) -> Doubles:
        """What the bytes on quantised pages stand for in navigation space, by slot."""
        low, step = (self.router.arrays[name] for name in ("quantised_low", "quantised_step"))
        stored = np.concatenate([page.vectors for page in self.pages.pages])
        return np.asarray(low.astype(np.float64) + step * stored.astype(np.float64))

    def section(self, described: Mapping[str, Any]) -> NDArray[Any]:
        """The numbers of one section of the ids."""
        demand(described["offset"] % (4096 - 32) == 0, "a section begins on a page of its own")
        return np.frombuffer(self.id_bytes, described["type"], described["count"], described["offset"])

    def slots_of_rows(self) -> NDArray[np.int64]:
        """The slot of each row, as the ids tell it."""
        return self.section(self.entry["meta"]["ids"]["slots"]).astype(np.int64)

    def ids(self) -> list[int] | list[str]:
        """The id of each row."""
        described = self.entry["meta"]["ids"]
        if described["kind"] == "rows":
            return list(range(self.entry["rows"]))
        numbers: list[int] = self.section(described["ids"]).tolist()
        if described["kind"] == "int64":
            return numbers
        demand(described["kind"] == "string", "a known kind of ids")
        text = self.section(described["text"]).tobytes()
        return [text[first:last].decode() for first, last in pairwise(numbers)]

    def row_of_id(self, wanted: int | str) -> int:
        """The row with an id, found by the levels of keys; -1 for none."""
        described, ids = self.entry["meta"]["ids"], self.ids()
        levels = [self.section(level) for level in described["keys"]]
        for below, level in pairwise(levels):
            demand(bool((level == below[::KEYS_OF_PAGE]).all()), "a level has the first key of each page")
        demand(len(levels[-1]) <= KEYS_OF_PAGE, "the last level is one page")
        demand(bool((levels[0][1:] >= levels[0][:-1]).all()), "keys ascend")
        rows = self.section(described["rows"])
        at = int(np.searchsorted(levels[0], _key(wanted)))
        while at < len(rows) and levels[0][at] == _key(wanted):
            if ids[rows[at]] == wanted:
                return int(rows[at])
            at += 1
        return -1

    def navigation_query(self, query: NDArray[Any]) -> Doubles:
        """A query (dim,) in navigation space."""
        wide = query.astype(np.float64)
        if self.entry["metric"] == "cosine":
            return np.asarray(wide / np.sqrt(wide @ wide))
        return wide + 128 if self.entry["metric"] == "l2" and self.entry["dtype"] == "int8" else wide

    def scores(self, query: Doubles, points: Doubles) -> Doubles:
        """Scores of points (n, dim) of navigation space; ``query`` lies there too."""
        if self.entry["metric"] == "ip":
            return np.asarray(-2 * points @ query)
        return np.asarray(((points - query) ** 2).sum(axis=1))

    def distances_of_scores(self, query: NDArray[Any], scores: Doubles) -> Doubles:
        """Distances to the query as it was asked."""
        if self.entry["metric"] == "l2":
            return scores
        shifted = self.entry["metric"] == "ip" and self.entry["dtype"] == "int8"
        return scores / 2 + (128 * query.astype(np.float64).sum() if shifted else 0)

    def units(self, level: int) -> tuple[Doubles, Doubles]:
        """(coded centroids (units, dim), mean squared distances to them) of a level of the router."""
        meta = self.router.meta
        records = self.router.records(meta["level_offsets"][level], meta["level_units"][level], LANES)
        spreads = meta["spread_step"] * records[:, -1].astype(np.float64)
        return self.router.quantiser.vectors(records[:, :-1]), spreads

    def estimates(self, query: NDArray[Any], width: int) -> Doubles:
        """The score of every slot, estimated from the codes of one width."""
        coded = self.codes[width]
        records = coded.records(0, self.entry["rows"], self.group_slots)
        return self._estimates(query, coded, records, np.arange(self.entry["rows"]))

    def estimates_of_representatives(self, query: NDArray[Any], page: Page) -> Doubles:
        """The scores of the slots that a page represents."""
        if self.reps is None:
            raise ValueError("pages without representatives")
        return self._estimates(query, self.reps, page.codes, page.slots.astype(np.int64))

    def rounding(self, query: NDArray[Any], coded: Coded) -> float:
        """How far estimates may be off whose tables were rounded to 8 bits."""
        near, asked = self.router.quantiser, self.navigation_query(query)
        squares = self.entry["metric"] != "ip"
        return near.rounding(asked, squares=squares) + coded.quantiser.rounding(asked, squares=False)

    def _estimates(
        self, query: NDArray[Any], coded: Coded, records: NDArray[np.uint8], slots: NDArray[np.int64]
    ) -> Doubles:
        asked = self.navigation_query(query)
        groups = self.scores(asked, self.units(0)[0])
        residuals = coded.quantiser.vectors(records[:, :-1])
        return groups[slots // self.group_slots] + coded.constants(records) - 2 * residuals @ asked


def _key(value: int | str) -> Any:
    if isinstance(value, str):
        digest = hashlib.blake2b(value.encode(), digest_size=8).digest()
        return np.uint64(int.from_bytes(digest, "little"))
    return np.int64(value)


def _read_coded(data: bytes, dim: int, family: str = "pq4") -> Coded:
    meta, arrays = read_bundle(data)
    starts, words = arrays["starts"], arrays["words"]
    count = 256 if family == "pq8" else 16
    covered = int(starts[-1])
    demand(starts[0] == 0 and len(words) == count * covered, "parts have their words")
    demand(
        covered == dim or (family in ("rabitq", "sq8") and covered % dim == 0), "parts cover the dimensions"
    )
    factor = (meta["factor_low"], meta["factor_step"]) if family == "rabitq" else None
    rotation = np.eye(dim)
    if arrays["rotation"].shape != (0, 0):
        rotation = arrays["rotation"].astype(np.float64) * meta["scale"]
    parts = [
        words[count * a : count * b].reshape(count, b - a).astype(np.float64) for a, b in pairwise(starts)
    ]
    demand("codes" not in arrays or not arrays["codes"][-LANES:].any(), "32 zeros end the codes")
    return Coded(meta, arrays, Quantiser(rotation, parts, factor))


def read_segment(entry: Mapping[str, Any], files: Mapping[str, bytes]) -> Segment:
    """The segment of a manifest's ``entry``; ``files`` are the bytes of its files by name."""
    shape, dim = entry["meta"]["shape"], entry["dim"]
    pages = read_page_file(files["pages.bin"])
    copies, copy_of_slot = _take_copies(entry, pages, files)
    exact = read_page_file(files["vectors.bin"]) if shape["quantised"] else pages
    _check_shape(shape, pages, exact)
    calibration, pins = revised(files, "calibration.json"), revised(files, "pins.bin")
    family = shape.get("code_family", "pq4")
    codes = {
        width: _read_coded(files[f"codes-{width:03d}.bin"], dim, family) for width in shape["code_bytes"]
    }
    return Segment(
        entry=entry,
        pages=pages,
        exact=exact,
        router=_read_coded(files["router.bin"], dim),
        codes=codes,
        reps=_read_coded(files["reps.bin"], dim) if shape["rep_capacity"] else None,
        id_bytes=read_page_file(files["ids.bin"]).payload if "ids.bin" in files else b"",
        calibration=json.loads(files.get(calibration, b"{}")),
        pin_order=read_bundle(files.get(pins, files["router.bin"]))[1]["pin_order"],
        copies=copies,
        copy_of_slot=copy_of_slot,
    )


def _take_copies(
    entry: Mapping[str, Any], pages: PageFile, files: Mapping[str, bytes]
) -> tuple[list[Page], NDArray[np.int64]]:
    """(pages of copies, which are taken off ``pages``, and the one of each slot)."""
    count, rows = entry["meta"]["shape"].get("copy_pages", 0), entry["rows"]
    demand(("copies.bin" in files) == (count > 0), "copies.bin is there where there are pages of copies")
    if not count:
        return [], np.full(rows, -1)
    copies = pages.pages[len(pages.pages) - count :]
    del pages.pages[len(pages.pages) - count :]
    width = next(width for width in (2, 3, 4) if count < 256**width)
    meta, arrays = read_bundle(files["copies.bin"])
    demand(set(meta) == {"tag"} and set(arrays) == {"places"}, "copies.bin holds places")
    places = arrays["places"]
    demand(places.shape == (rows * width + 4,) and not places[-4:].any(), "four zeros end the places")
    numbers = places[:-4].reshape(rows, width).astype(np.int64) @ 256 ** np.arange(width)
    demand(bool((numbers <= count).all()), "places are of pages of copies")
    return copies, numbers - 1


def revised(files: Mapping[str, bytes], name: str) -> str:
    """The name of what is read in the place of ``name``."""
    stem, suffix = name.rsplit(".", 1)
    found = [each for each in files if re.fullmatch(rf"{stem}-[0-9]{{6,}}\.{suffix}", each)]
    demand(len(found) <= 1, f"one revision of {name} is listed")
    demand(not found or name not in files, f"{name} is not listed beside its revision")
    return found[0] if found else name


def _check_shape(shape: Mapping[str, Any], pages: PageFile, exact: PageFile) -> None:
    names = ("page_bytes", "capacity", "rep_capacity", "link_capacity", "row_bytes")
    demand(all(pages.header[name] == shape[name] for name in names), "pages are of the shape")
    rep_bytes = shape["rep_bytes"] + 1 if shape["rep_capacity"] else 0
    demand(pages.header["rep_code_bytes"] == rep_bytes, "a code on a page has its constant behind it")
    if shape["quantised"]:
        sizes = (exact.header["page_bytes"], exact.header["capacity"])
        demand(sizes == (shape["exact_page_bytes"], shape["exact_capacity"]), "vectors are of the shape")
        demand(pages.header["dtype_code"] == 3, "quantised pages hold bytes")
