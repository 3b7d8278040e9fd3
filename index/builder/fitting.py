"""The shape of an index that can be opened, codes and all, with the memory it is built for.

:func:`plan_shape` foretells what queries in flight will take; :func:`plan_open` knows. Under small budgets
the two differ, and an index would carry codes that no opening within its budget has room for. So a shape is
planned for as much of the budget as leaves the rest for everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pageann.errors import BudgetTooSmall, InvalidArgument
from pageann.index.builder.calibration import default_tunings, roomiest_tunings
from pageann.index.builder.disk_room import DiskRoom, index_bytes
from pageann.index.builder.layout import Plan, plan_shape
from pageann.index.code_families import Family
from pageann.index.ids_file import IdKind, IdLayout, Section
from pageann.index.search.load import Residence
from pageann.index.search.planner import OpenPlan, plan_open, predicted_array_bytes
from pageann.index.segment_files import Shape
from pageann.storage.manifest import SegmentEntry
from pageann.types import Metric, format_bytes

__all__ = ["CodeChoice", "code_choices", "fitted_plan", "opening_plan"]

_CALIBRATED_WORKERS = 2
"""The plan that is calibrated is one for so many threads, whatever the build runs on."""
_NARROWER_SHARES = (1.0, 0.75, 0.5)
"""Of the width of codes that were planned."""
_STEPS = 50
"""Parts of the budget that are given up one by one."""


def _entry_of(rows: int, dim: int, dtype: np.dtype[Any], metric: Metric, plan: Plan) -> SegmentEntry:
    """What the manifest will say, as far as opening asks for it."""
    arrays = predicted_array_bytes(plan.shape, rows, dim, plan.rotate)
    no_ids = IdLayout(IdKind.ROWS, Section(0, 0, "<u4")).to_json()
    meta = {"shape": plan.shape.to_json(), "ids": no_ids, "arrays": arrays}
    return SegmentEntry("seg-000001", rows, dim, str(dtype), metric.label, 0, {}, meta)


def opening_plan(
    rows: int, dim: int, dtype: np.dtype[Any], metric: Metric, plan: Plan, memory_bytes: int
) -> OpenPlan:
    """How an index that is not built yet would be opened; BudgetTooSmall where it could not be."""
    entry = _entry_of(rows, dim, dtype, metric, plan)
    return plan_open(entry, memory_bytes, _CALIBRATED_WORKERS, default_tunings(plan.shape))


@dataclass(frozen=True, slots=True)
class CodeChoice:
    """A shape that may have other codes than planned, and the share of its pages that can then be pinned."""

    shape: Shape
    pinned_share: float
    direct: bool = False
    """Whether the records of a file of their own are read in place of the pages."""

    @property
    def capacity(self) -> int:
        """Vectors that a read brings."""
        return self.shape.exact_capacity if self.direct else self.shape.capacity


def code_choices(
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    metric: Metric,
    plan: Plan,
    memory_bytes: int,
    disk: DiskRoom | None,
) -> tuple[CodeChoice, ...]:
    """The shape of ``plan``, then those with codes of other families or widths that fit where its own do.

    None is wider than the plan's. Narrower codes are there only where memory that they leave is spent on
    pages; codes of eight bits a part only where pages bring no finer ones, for walks take enough processor
    time as it is (photosift1m at 10 %: 37.0 reads and 540 us with them, 39.7 and 450 without). None but the
    plan's own are there where that holds all pages. Vectors in a file of their own are read directly where
    codes are fine enough, and have no use for memory that is left: there are none but codes with which they
    are, too.
    """
    shape = plan.shape
    own = opening_plan(rows, dim, dtype, metric, plan, memory_bytes).residence
    direct, pages = own.direct_records, shape.page_count(rows)
    first = CodeChoice(shape, own.pinned_pages / pages, direct)
    found = {(shape.code_family, shape.code_bytes[0]): first}
    if own.pinned_pages == pages or (shape.quantised and not direct):
        return tuple(found.values())
    shares = (1.0,) if direct or shape.rep_capacity or shape.copy_pages else _NARROWER_SHARES
    families = [family for family in Family if family is not Family.PQ8 or not shape.rep_capacity]
    for family in families:
        for share in shares:
            wide = [int(share * shape.code_bytes[0]), *shape.code_bytes[1:]]
            widths = family.widths([width for width in wide if width <= wide[0]], dim)
            if not widths or (family, widths[0]) in found:
                continue
            other = replace(plan, shape=replace(shape, code_family=family, code_bytes=widths))
            residence = _residence(rows, dim, dtype, metric, other, memory_bytes)
            on_disk = 0 if disk is None else index_bytes(other.shape, rows, dim, plan.rotate, disk.id_bytes)
            if residence is None or (disk is not None and on_disk > disk.bytes):
                continue
            if residence.direct_records == direct:
                found[family, widths[0]] = CodeChoice(other.shape, residence.pinned_pages / pages, direct)
    return tuple(found.values())


def _residence(
    rows: int, dim: int, dtype: np.dtype[Any], metric: Metric, plan: Plan, memory_bytes: int
) -> Residence | None:
    """What stays in memory; None where the finest codes do not, however the index is tuned."""
    entry = _entry_of(rows, dim, dtype, metric, plan)
    try:
        tightest = plan_open(entry, memory_bytes, _CALIBRATED_WORKERS, roomiest_tunings(plan.shape, rows))
        if tightest.residence.code_bytes != plan.shape.code_bytes[0]:
            return None
        return opening_plan(rows, dim, dtype, metric, plan, memory_bytes).residence
    except BudgetTooSmall:
        return None


def fitted_plan(
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    metric: Metric,
    memory_bytes: int,
    page_bytes: int | None,
    disk: DiskRoom | None = None,
    family: Family | None = None,
) -> Plan:
    """The shape whose finest codes fit into ``memory_bytes`` when the index is opened, however it is tuned.

    Raises BudgetTooSmall with memory that a build accepts (the least, as far as shapes are tried), and
    InvalidArgument where ``page_bytes`` or ``disk`` is too small, or no codes of ``family`` fit.
    """
    planned = family or Family.PQ4
    plan, needed = _fitted(rows, dim, dtype, metric, memory_bytes, page_bytes, disk, planned)
    if disk is not None and (plan is None or not plan.shape.copy_pages):  # no need to make room for any
        plan, needed = _fitted(rows, dim, dtype, metric, memory_bytes, page_bytes, None, planned)
    if plan is not None:
        _require_codes(plan, memory_bytes, family)
        _require_room(plan, rows, dim, disk)
        return plan
    asked = memory_bytes
    while plan is None:  # a larger budget may call for a shape that needs more
        asked = max(needed, asked + asked // _STEPS + 1)
        plan, needed = _fitted(rows, dim, dtype, metric, asked, page_bytes, None, planned)
    raise BudgetTooSmall(
        f"memory={format_bytes(memory_bytes)} is too small for {rows:,} x {dim} {dtype}; the least that "
        f"works is {asked} bytes ({format_bytes(asked)})",
        asked,
    )


def _require_codes(plan: Plan, memory_bytes: int, family: Family | None) -> None:
    """InvalidArgument where codes of ``family`` were asked for and there are none."""
    if family is None or plan.shape.code_bytes:
        return
    raise InvalidArgument(
        f"codes={family}: memory={format_bytes(memory_bytes)} has no room for codes of all vectors that are "
        "worth their place; give more memory, or leave codes out"
    )


def _require_room(plan: Plan, rows: int, dim: int, disk: DiskRoom | None) -> None:
    if disk is None:
        return
    needed = index_bytes(plan.shape, rows, dim, plan.rotate, disk.id_bytes)
    if needed > disk.bytes:
        raise InvalidArgument(
            f"disk={format_bytes(disk.bytes)} is too small for this index; it takes up to {needed} bytes "
            f"({format_bytes(needed)}) for the memory it is built for"
        )


def _fitted(
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    metric: Metric,
    memory_bytes: int,
    page_bytes: int | None,
    disk: DiskRoom | None,
    family: Family,
) -> tuple[Plan | None, int]:
    """(the plan for as much of the memory as leaves room for the rest, 0), or (None, the least of any)."""
    needed: list[int] = []
    for step in range(_STEPS, 0, -1):
        share = max(1, memory_bytes * step // _STEPS)
        plan = plan_shape(rows, dim, dtype, metric, share, page_bytes, disk, family)
        entry = _entry_of(rows, dim, dtype, metric, plan)
        try:
            opened = plan_open(entry, memory_bytes, _CALIBRATED_WORKERS, roomiest_tunings(plan.shape, rows))
        except BudgetTooSmall as error:
            needed.append(error.required_bytes)
        else:
            if opened.residence.code_bytes == max(plan.shape.code_bytes, default=0):
                return plan, 0
    return None, min(needed, default=0)
