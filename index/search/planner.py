"""Spend a memory budget: what an open index holds in RAM, item by item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pageann.errors import BudgetTooSmall
from pageann.index.code_families import Family
from pageann.index.kernels.scan import LANES
from pageann.index.search.ids import IdMap
from pageann.index.search.load import Residence, start_level
from pageann.index.search.tuning import LEAST_WIDTH, Tuning
from pageann.index.search.workspace import WorkspaceFacts, table_sizes
from pageann.index.segment_files import PLACE_SLACK_BYTES, Shape
from pageann.results import Ledger, LedgerItem
from pageann.storage.manifest import SegmentEntry
from pageann.types import format_bytes

__all__ = ["OpenPlan", "plan_open", "predicted_array_bytes", "raw_bytes", "residences", "router_units"]

_RING_BYTES = 16 * 1024
"""Queues of one worker's ring, and what its thread keeps."""
_PLANNED_EFFORT = 40
_PLANNED_K = 10
_SLOTS_PER_WORKER = 8
_FEWEST_SLOTS = 2
"""Queries in flight of a worker, below which rounds are narrowed."""
_SCRATCH_SHARE = 0.1
_SMALL_SCRATCH_SHARE = 0.25
_SMALL_SCRATCH_BYTES = 600_000
"""What queries in flight may take of a small budget, so that high efforts have room."""
_DIRECT_BITS = 2.0
"""Bits of code a dimension from which exact records are fetched without quantised pages between."""
_LEAST_PINNED = 16


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """What to hold in RAM."""

    residence: Residence
    ids_resident: bool
    workers: int
    """Threads that search: fewer than asked for where their memory would cost codes."""
    scratch_bytes: int
    """For queries in flight."""
    width: int
    """Most pages of a round that the scratch was planned for."""
    ledger: Ledger


def router_units(groups: int) -> list[int]:
    """Units of each level of a router over ``groups``."""
    units = [groups]
    while units[-1] > LANES:
        units.append(-(-units[-1] // LANES))
    return units


def _facts(entry: SegmentEntry, shape: Shape, code_bytes: int, direct: bool) -> WorkspaceFacts:
    units = router_units(shape.group_count(entry.rows))
    actual = shape.code_family.code_bytes(code_bytes, entry.dim) if code_bytes else 0
    page_bytes = shape.exact_page_bytes if direct else max(shape.page_bytes, shape.exact_page_bytes)
    return WorkspaceFacts(
        rows=entry.rows,
        dim=entry.dim,
        table_sizes=table_sizes(shape.router_bytes, actual, shape.rep_bytes, shape.code_family.kind),
        quantised=shape.quantised and not direct,
        walks=shape.rep_capacity > 0 and not direct,
        by_margin=code_bytes > 0 and (direct or shape.rep_capacity == 0),
        copies=code_bytes > 0 and shape.copy_pages > 0,
        buffer_bytes=page_bytes,
        groups=units[0],
        start_units=units[start_level(units)],
    )


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to spend the budget, before what is left of it is spent."""

    code_bytes: int
    direct: bool
    fixed: tuple[LedgerItem, ...]
    facts: WorkspaceFacts

    @property
    def fixed_bytes(self) -> int:
        return sum(item.bytes for item in self.fixed)


def _options(entry: SegmentEntry, shape: Shape) -> list[_Option]:
    """Ways to open the index, the one that reads least first."""
    arrays: Mapping[str, Any] = entry.meta["arrays"]
    found = []
    for code_bytes in (*shape.code_bytes, 0):
        direct = shape.quantised and 8 * code_bytes >= _DIRECT_BITS * entry.dim
        items = [LedgerItem("router", int(arrays["router"]), "coded centroids of page groups")]
        if code_bytes:
            note = f"{code_bytes} bytes a vector"
            items.append(LedgerItem("codes", int(arrays["codes"][str(code_bytes)]), note))
        if shape.rep_capacity and not direct:
            items.append(LedgerItem("page codes", int(arrays["reps"]), "tables for the codes on pages"))
        if code_bytes and shape.copy_pages:
            copied = shape.copy_pages * shape.capacity / entry.rows
            note = f"{shape.copy_bytes} bytes a vector: the second page of {copied:.0%} of them"
            items.append(LedgerItem("copies", int(arrays["copies"]), note))
        found.append(_Option(code_bytes, direct, tuple(items), _facts(entry, shape, code_bytes, direct)))
    return found


def residences(entry: SegmentEntry) -> list[Residence]:
    """The ways to open a segment that differ in recall, finest codes first; nothing is pinned."""
    found = _options(entry, Shape.from_json(entry.meta["shape"]))
    return [Residence(option.code_bytes, 0, option.direct) for option in found]


def _scratch(
    facts: WorkspaceFacts, tuning: Tuning, group_slots: int, available: int, budget: int, workers: int
) -> tuple[int, int]:
    """(bytes, width) for queries in flight: several a worker where that costs little, else one each."""
    size = tuning.size(_PLANNED_K, _PLANNED_EFFORT, group_slots, LEAST_WIDTH)
    least = (workers * facts.bytes(1, size), LEAST_WIDTH)
    small = min(_SMALL_SCRATCH_BYTES, int(_SMALL_SCRATCH_SHARE * budget))
    share = max(int(_SCRATCH_SHARE * budget), small, least[0])
    room = min(share, available)
    width = max(LEAST_WIDTH, tuning.width)
    while width > LEAST_WIDTH:
        size = tuning.size(_PLANNED_K, _PLANNED_EFFORT, group_slots, width)
        if workers * facts.bytes(_FEWEST_SLOTS, size) <= room:
            break
        width //= 2
    most = workers * facts.bytes(
        _SLOTS_PER_WORKER, tuning.size(_PLANNED_K, _PLANNED_EFFORT, group_slots, width)
    )
    generous = max(most, _SMALL_SCRATCH_BYTES)
    return max(least[0], min(room, generous)), width


def plan_open(
    entry: SegmentEntry,
    budget_bytes: int,
    workers: int,
    tuning_of: Mapping[int, Tuning],
    processes: int = 1,
) -> OpenPlan:
    """The best use of ``budget_bytes``: codes as fine as fit, then ids, then pinned pages.

    What is left then is for searches of more effort, up to one that looks at every row.

    ``tuning_of`` gives the tuning for each width of resident codes (0: none). ``processes`` share the
    budget: they hold arrays once, and queries in flight each for itself. Raises BudgetTooSmall with the
    least that works.
    """
    shape = Shape.from_json(entry.meta["shape"])
    for option in _options(entry, shape):
        tuning = tuning_of[option.code_bytes]
        size = tuning.size(_PLANNED_K, _PLANNED_EFFORT, shape.group_slots, LEAST_WIDTH)
        least = _RING_BYTES + option.facts.bytes(1, size)
        fitting = (budget_bytes - option.fixed_bytes) // (processes * least)
        if fitting >= 1:
            return _spend(entry, shape, option, tuning, budget_bytes, min(workers, fitting), processes)
    required = option.fixed_bytes + processes * least
    raise BudgetTooSmall(
        f"memory={format_bytes(budget_bytes)} is too small for this index; the least that works is "
        f"{required} bytes ({format_bytes(required)})",
        required,
    )


def _spend(
    entry: SegmentEntry,
    shape: Shape,
    option: _Option,
    tuning: Tuning,
    budget: int,
    workers: int,
    processes: int,
) -> OpenPlan:
    """Fill the budget behind what ``option`` needs."""
    each = f" in each of {processes} processes" if processes > 1 else ""
    note = f"{workers} worker{'s' if workers > 1 else ''}{each}"
    rings = LedgerItem("rings", _RING_BYTES * workers * processes, note)
    left = budget - option.fixed_bytes - rings.bytes
    scratch, width = _scratch(
        option.facts, tuning, shape.group_slots, left // processes, budget // processes, workers
    )
    left -= scratch * processes
    items = [*option.fixed, rings]
    id_bytes = IdMap.resident_bytes_of(entry.meta["ids"], entry.rows)
    ids_resident = 0 < id_bytes <= left // 2
    if ids_resident:
        left -= id_bytes
        items.append(LedgerItem("ids", id_bytes, "row to id"))
    pinned = 0 if option.direct else _pinnable(shape.page_count(entry.rows), shape.page_bytes, left)
    if pinned:
        held = pinned * shape.page_bytes + LANES + 4 * shape.page_count(entry.rows)
        left -= held
        items.append(LedgerItem("pinned pages", held, f"{pinned} of {shape.page_count(entry.rows)}"))
    widest = tuning.size(entry.rows, entry.rows, shape.group_slots, width)
    scratch = max(scratch, min(scratch + left // processes, workers * option.facts.bytes(1, widest)))
    items.append(LedgerItem("queries in flight", scratch * processes, f"rounds of up to {width} pages{each}"))
    residence = Residence(option.code_bytes, pinned, option.direct)
    return OpenPlan(residence, ids_resident, workers, scratch, width, Ledger(tuple(items), budget))


def _pinnable(pages: int, page_bytes: int, left: int) -> int:
    """Pages that fit ``left`` bytes beside the index of what is pinned; few are not worth that index."""
    count = min(pages, (left - 4 * pages - LANES) // page_bytes)
    return int(count) if count >= min(_LEAST_PINNED, pages) else 0


def predicted_array_bytes(shape: Shape, rows: int, dim: int, rotated: frozenset[str]) -> dict[str, Any]:
    """Bytes in RAM of what an open index may hold: ``router``, ``reps``, ``codes`` by width, ``copies``."""

    def maker(kind: str, width: int, family: Family = Family.PQ4) -> int:
        rotation = 2 * dim * dim if kind in rotated and family is not Family.SQ8 else 0
        return rotation + family.maker_bytes(width, dim)

    def record(width: int, family: Family = Family.PQ4) -> int:
        return family.code_bytes(width, dim) + 1

    units = router_units(shape.group_count(rows))
    lanes = sum(-(-count // LANES) * LANES for count in units)
    router = lanes * record(shape.router_bytes) + LANES + maker("router", shape.router_bytes)
    slots = shape.group_count(rows) * shape.group_slots
    family = shape.code_family
    return {
        "router": router + (8 * dim if shape.quantised else 0),
        "reps": maker("reps", shape.rep_bytes) if shape.rep_capacity else 0,
        "codes": {
            str(width): slots * record(width, family) + LANES + maker("codes", width, family)
            for width in shape.code_bytes
        },
        **({"copies": rows * shape.copy_bytes + PLACE_SLACK_BYTES} if shape.copy_pages else {}),
    }


def raw_bytes(entry: SegmentEntry) -> int:
    """Bytes of the vectors alone: what a percentage is of."""
    return entry.rows * entry.dim * np.dtype(entry.dtype).itemsize
