"""Measure a freshly written segment: recall against effort on held-out rows, and the widths that pay.

Queries are rows of the index, each left out of its own answer. Every width of resident codes gets a
curve for each k, since that is what decides recall at an effort: how many pages are pinned, and how
many queries are in flight, changes only what it costs. Widths are chosen by counted work times a cost
table, never by a clock, so that the same build gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pageann.index.builder.curves import SCAN_SLOTS, Care, Meter, best_scan, scan_choices
from pageann.index.builder.heldout import SAMPLE_ROWS, Sample
from pageann.index.search.effort import Calibration, Curve, CurvePoint
from pageann.index.search.engine import Engine
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.planner import residences
from pageann.index.search.tuning import Tuning
from pageann.index.segment_files import PAGES_FILE, Shape
from pageann.storage.io.probe import probe
from pageann.storage.manifest import SegmentEntry

__all__ = ["CALIBRATED_KS", "Kept", "Sample", "calibrate", "default_tunings", "roomiest_tunings"]

CALIBRATED_KS = (1, 10, 100)
_SLOTS_PER_THREAD = 16
"""Queries in flight: with fewer, threads wait for the device."""
_FETCH_WIDTH = 32
_WALK_WIDTH = 4
_COARSE_WALK_WIDTH = 8
"""With coarse codes of all vectors: 5.7 rounds instead of 10.2 for 0.4 % more reads (photosift1m)."""
_WALK_SCAN_SLOTS = 60.0
_WALK_CELLS = 48
_WALK_PAGES_SHARE = 0.6
"""Estimates made while walking are too hopeful to end a walk; a count of pages does better."""
_RANKED_PAGES_SHARE = 2.0
"""The same where pages bring no codes of others, and only centroids rank them."""

Done = Callable[[int, int], None]


_CLOSE = Care(SAMPLE_ROWS, 1.35, 500, 1.8)
"""For k = 10 with the codes that the index was built for."""
_ROUGH = {1: Care(250, 1.5), 10: Care(300, 1.5), 100: Care(100, 1.5)}
"""For other ks: the recall of one query varies less the more neighbours it is taken over."""
_OTHER = {1: Care(200, 1.5, 100), 10: Care(200, 1.5, 100), 100: Care(80, 1.5, 40)}
"""With narrower codes, for those who open the index with less memory than it was built for."""
_NO_CODES = {1: Care(100, 2.0, 50), 10: Care(100, 2.0, 50), 100: Care(50, 2.0, 25)}
"""Without any, which they hardly will: hundreds of reads a query."""
_TUNING = Care(400, 1.35)
"""To choose widths with."""


class Kept(Protocol):
    """Where parts of a calibration are kept that were measured before it was stopped."""

    def find(self, name: str) -> Any:
        """The value of a part, or None."""

    def keep(self, name: str, value: Any) -> None:
        """Keep the value (for JSON) of a part."""


class _Nothing:
    def find(self, name: str) -> Any:
        return None

    def keep(self, name: str, value: Any) -> None:
        pass


def default_tunings(shape: Shape) -> dict[int, Tuning]:
    """Tunings for each width of resident codes, before anything was measured.

    Where pages bring codes of their neighbours, narrow rounds read fewer of them; where codes are
    resident, nothing is lost by one wide round. Without resident codes the router's scores are most of
    a query's memory, and few are enough.
    """
    width = _COARSE_WALK_WIDTH if shape.rep_capacity else _FETCH_WIDTH
    power = (
        1.0 if shape.rep_capacity else 0.5
    )  # a margin asks for few more candidates, a pool for all it holds
    tunings = {
        code_bytes: Tuning(scan_slots=300.0, scan_power=power, width=width) for code_bytes in shape.code_bytes
    }
    share = _WALK_PAGES_SHARE if shape.rep_capacity else _RANKED_PAGES_SHARE
    walk = Tuning(_WALK_SCAN_SLOTS, width=_WALK_WIDTH, most_cells=_WALK_CELLS, pages_share=share)
    return {**tunings, 0: walk}


def roomiest_tunings(shape: Shape, rows: int) -> dict[int, Tuning]:
    """Those of all that calibration may choose from whose queries take the most memory."""
    widest = max(scan_choices(rows))
    return {
        code_bytes: replace(tuning, scan_slots=widest) if code_bytes else tuning
        for code_bytes, tuning in default_tunings(shape).items()
    }


@contextmanager
def _opened(
    folder: Path, entry: SegmentEntry, residence: Residence, threads: int
) -> Iterator[tuple[Engine, LoadedSegment]]:
    """An engine over a segment, with nothing pinned and as much room as queries ask for."""
    segment = load_segment(folder, entry, residence)
    try:
        driver = probe(folder / PAGES_FILE).driver
        engine = Engine(segment, driver, workers=threads, slots=_SLOTS_PER_THREAD * threads)
        try:
            yield engine, segment
        finally:
            engine.close()
    finally:
        segment.close()


def calibrate(
    folder: Path,
    entry: SegmentEntry,
    sample: Sample,
    memory_bytes: int,
    threads: int,
    done: Done,
    *,
    thorough: bool = False,
    kept: Kept | None = None,
) -> Calibration:
    """Measure the segment in ``folder`` with every width of resident codes; ``sample`` as drawn.

    How many codes are scored for each unit of effort is chosen once, with the finest codes. ``thorough``:
    every curve is measured closely, with all of the sample. What ``kept`` has is not measured again.
    """
    ways = residences(entry)
    work = _Work(default_tunings(Shape.from_json(entry.meta["shape"])), entry, sample, kept or _Nothing())
    steps = (len(SCAN_SLOTS) if ways[0].code_bytes else 0) + len(CALIBRATED_KS) * len(ways)
    finished = 0

    def step() -> None:
        nonlocal finished
        finished += 1
        done(finished, steps)

    curves: list[Curve] = []
    for number, residence in enumerate(ways):
        with _opened(folder, entry, residence, threads) as (engine, segment):
            if number == 0 and residence.code_bytes:
                work.choose_scan(engine, segment, step)
            for k in CALIBRATED_KS:
                care = _care(number == 0, residence.code_bytes, k)
                if thorough:
                    care = Care(len(sample.rows), _CLOSE.growth)
                curves.append(work.curve(engine, segment, k, care))
                step()
    return Calibration(len(sample.rows), memory_bytes, work.tunings, tuple(curves))


def _care(is_first: bool, code_bytes: int, k: int) -> Care:
    """How closely a curve is measured, with the codes that the index was built for or with others."""
    if is_first:
        return _CLOSE if k == 10 else _ROUGH[k]
    return (_OTHER if code_bytes else _NO_CODES)[k]


@dataclass(slots=True)
class _Work:
    """A calibration in the making."""

    tunings: dict[int, Tuning]
    entry: SegmentEntry
    sample: Sample
    kept: Kept

    def choose_scan(self, engine: Engine, segment: LoadedSegment, done: Callable[[], None]) -> None:
        """Choose the share of codes that are scored, for all widths of codes."""
        scan_slots = self.kept.find("scan")
        if scan_slots is None:
            meter = Meter(engine, segment, self.sample, _TUNING)
            tuning = self.tunings[segment.residence.code_bytes]
            scan_slots = best_scan(meter, tuning, self.entry.rows, done)
            self.kept.keep("scan", scan_slots)
        for width, tuning in self.tunings.items():
            if width:
                self.tunings[width] = replace(tuning, scan_slots=scan_slots)

    def curve(self, engine: Engine, segment: LoadedSegment, k: int, care: Care) -> Curve:
        """The curve of one k, measured or known."""
        width = segment.residence.code_bytes
        name = f"{width}-{k}"
        known = self.kept.find(name)
        if known is None:
            meter = Meter(engine, segment, self.sample, care)
            measured = meter.curve(self.tunings[width], k)
            known = asdict(measured)
            self.kept.keep(name, known)
        return Curve(known["k"], known["code_bytes"], tuple(CurvePoint(**each) for each in known["points"]))
