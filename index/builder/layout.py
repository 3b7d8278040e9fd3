"""Decide the shape of an index from what is to be stored and the memory it is built for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pageann.errors import InvalidArgument
from pageann.index.builder.disk_room import DiskRoom
from pageann.index.code_families import Family
from pageann.index.kernels.scan import LANES
from pageann.index.segment_files import Shape
from pageann.storage.format import LARGEST_PAGE_BYTES, PAGE_HEADER_BYTES, SMALLEST_PAGE_BYTES
from pageann.types import Metric

__all__ = ["Plan", "plan_shape"]

_LEAST_CAPACITY = 2
_LAST_SHORT_ROW = 2**32 - 1
_ROUTER_BYTES = 32
_PAGE_ROUTER_BYTES = 12
"""Of the code of one page's centroid where nothing else is resident."""
_COARSE_ROUTER_BYTES = 24
"""Where coarse codes of all vectors are resident, which are worth more than finer centroids."""
_LEAST_ROUTER_BYTES = 6
_GOOD_CODE_BITS = 0.875
"""Bits of code a dimension from which full pages need fewer reads than pages with representatives."""
_LEAST_CODE_BYTES = 4
_MOST_CODE_BYTES = 512
_COARSE_FROM_BYTES = 6.5
"""Resident bytes a vector from which coarse codes of all vectors are worth having."""
_COARSE_FROM_BITS = 0.4
"""The same a dimension: coarser codes mislead a walk, and take the place of larger pages.

debian384 (384 x float32) at 1 %, 0.32 bits: recall 0.69 at 134 read units with codes, 0.80 without.
"""
_FINE_REP_BYTES = 28
_REP_BYTES = 20
_WALK_PAGE_BYTES = 8192
"""Of pages that are walked without codes in RAM: twice the codes of neighbours for half a unit more.

photosift1m at 1 %: 67 read units with 20-byte codes on 8 KiB, 88 with 12-byte codes on 4 KiB, 79 on 16 KiB.
"""
_WALK_RAW_SHARE = 1 / 4.5
"""Least share of such a page that is vectors: all files of an index are at most 4.6 times as large."""
_WALK_VECTOR_SHARE = 0.5
"""Most share of it."""
_VECTOR_SHARE_WITH_CODES = 0.46
_LINK_BYTES = 4
_MOST_LINKS = 64
_SPARED_FROM = 8
"""Vectors a page from which one is left out where else there were no link."""
_MOST_ROTATED = 2048
_ROTATION_SHARE = 0.08
_SCRATCH_BYTES = 2.5e6
_SMALL_SCRATCH_BYTES = 600e3
_SMALL_SCRATCH_SHARE = 0.2
_NARROWER_SHARES = (2 / 3, 1 / 3)
_SCRATCH_SHARE = 0.03
_COPIED_FROM = 4
"""Vectors a page from which a second page may bring more of what is wanted than the first."""
_LEAST_COPIED_SHARE = 0.1
"""Of the vectors: copies of fewer are not worth the table that finds them."""


def _capacity(page_bytes: int, vector_bytes: int, row_bytes: int) -> int:
    return (page_bytes - PAGE_HEADER_BYTES) // (vector_bytes + row_bytes)


def _linked_capacity(page_bytes: int, vector_bytes: int, row_bytes: int) -> int:
    """The same, but one less where not a single link has room and that costs little."""
    capacity = _capacity(page_bytes, vector_bytes, row_bytes)
    left = page_bytes - PAGE_HEADER_BYTES - row_bytes - capacity * (vector_bytes + row_bytes)
    return capacity - 1 if left < _LINK_BYTES and capacity >= _SPARED_FROM else capacity


def _page_for(vector_bytes: int, row_bytes: int, least: int, page_bytes: int) -> int:
    """The smallest page from ``page_bytes`` up that holds ``least`` vectors; 0 if none does."""
    while page_bytes <= LARGEST_PAGE_BYTES:
        if _capacity(page_bytes, vector_bytes, row_bytes) >= least:
            return page_bytes
        page_bytes *= 2
    return 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of an index, and which of its codes get a rotation."""

    shape: Shape
    rotate: frozenset[str]


def plan_shape(
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    metric: Metric,
    memory_bytes: int,
    page_bytes: int | None,
    disk: DiskRoom | None = None,
    family: Family = Family.PQ4,
) -> Plan:
    """The shape of an index of ``rows`` x ``dim`` for ``memory_bytes`` of RAM.

    With enough memory for good codes of all vectors, pages are full of vectors; with less, half of
    each page or more goes to representatives of its neighbours. What full pages leave of ``disk`` goes to
    copies of vectors. Raises InvalidArgument where
    ``page_bytes`` is too small.
    """
    row_bytes = 4 if rows <= _LAST_SHORT_ROW else 8
    vector_bytes = dim * dtype.itemsize
    wanted = page_bytes or SMALLEST_PAGE_BYTES
    quantised = dtype.itemsize > 1 and _capacity(wanted, vector_bytes, row_bytes) < _LEAST_CAPACITY
    stored_bytes = dim if quantised else vector_bytes
    page = _page_for(stored_bytes, row_bytes, _LEAST_CAPACITY, wanted)
    if not page or (page_bytes and page != page_bytes):
        needed = _page_for(stored_bytes, row_bytes, _LEAST_CAPACITY, SMALLEST_PAGE_BYTES)
        raise InvalidArgument(
            f"page_bytes={page_bytes}: vectors of {dim} x {dtype} need pages of {needed} bytes; leave it out"
        )
    exact_page = _page_for(vector_bytes, row_bytes, 1, SMALLEST_PAGE_BYTES) if quantised else 0
    room = _Room(rows, dim, memory_bytes, disk, family)

    def base_of(page: int) -> Shape:
        return _empty_shape(page, exact_page, rows, dim, stored_bytes, vector_bytes, row_bytes, quantised)

    shape = _full_pages(base_of(page), room)
    if not _has_good_codes(shape, dim):
        if room.has_coarse_codes:
            shape = _coarse_codes(base_of(page), room, stored_bytes)
        else:
            larger = max(page, page_bytes or _WALK_PAGE_BYTES)
            shape = _no_codes(base_of(larger), room, stored_bytes)
    return Plan(_with_links(shape, stored_bytes), room.rotations(shape))


def _empty_shape(
    page: int,
    exact_page: int,
    rows: int,
    dim: int,
    stored_bytes: int,
    vector_bytes: int,
    row_bytes: int,
    quantised: bool,
) -> Shape:
    """Pages full of vectors, and a router, but no codes."""
    return Shape(
        page_bytes=page,
        capacity=min(_linked_capacity(page, stored_bytes, row_bytes), rows),
        group_pages=1,
        router_bytes=min(_ROUTER_BYTES, -(-dim // 2)),
        code_bytes=(),
        rep_bytes=0,
        rep_capacity=0,
        link_capacity=0,
        quantised=quantised,
        exact_page_bytes=exact_page,
        exact_capacity=_capacity(exact_page, vector_bytes, row_bytes) if quantised else 0,
        row_bytes=row_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """The budget, and what must come out of it before codes do."""

    rows: int
    dim: int
    memory_bytes: int
    disk: DiskRoom | None = None
    family: Family = Family.PQ4

    @property
    def has_coarse_codes(self) -> bool:
        """Whether coarse codes of all vectors are worth their place."""
        least = max(_COARSE_FROM_BYTES, _COARSE_FROM_BITS / 8 * self.dim)
        return self.memory_bytes / self.rows >= least

    def holds_all_pages(self, shape: Shape) -> bool:
        """Whether nothing need be read at all, with the widest codes in memory beside the pages."""
        codes = (shape.code_bytes[0] + 1) * self.rows
        return codes + shape.page_count(self.rows) * shape.page_bytes <= self.memory_bytes

    def rotates(self, kinds: int) -> bool:
        """Whether ``kinds`` rotations are a small part of the budget."""
        return self.dim <= _MOST_ROTATED and 2 * self.dim**2 * kinds <= _ROTATION_SHARE * self.memory_bytes

    def rotations(self, shape: Shape) -> frozenset[str]:
        """Which codes get one."""
        kinds = ["router"]
        kinds += ["codes"] if shape.code_bytes else []
        kinds += ["reps"] if shape.rep_capacity else []
        return frozenset(kinds) if self.rotates(len(kinds)) else frozenset()

    def width(self, fitting: int) -> int:
        """Bytes of the widest useful code of the family in ``fitting`` bytes; 0 or less: there is none."""
        if self.family in (Family.PQ4, Family.PQ8):
            fitting = min(fitting, _MOST_CODE_BYTES)
        return self.family.code_bytes(fitting, self.dim) if fitting > 0 else 0

    def code_bytes(self, shape: Shape, kinds: int) -> int:
        """Bytes of a code that fit for every vector, beside all else; 0 or less: none do."""
        rotation = 2 * self.dim**2 if self.rotates(kinds) else 0
        tables = kinds * (rotation + 64 * self.dim + 4 * 2 * self.dim)
        tables += max(0, self.family.maker_bytes(self.dim, self.dim) - 72 * self.dim)
        groups = shape.group_count(self.rows)
        router = groups * (1 + 1 / 31) * (shape.router_bytes + 1) + 64 * (shape.router_bytes + 1)
        small = min(_SMALL_SCRATCH_BYTES, _SMALL_SCRATCH_SHARE * self.memory_bytes)
        scratch = min(_SCRATCH_BYTES, max(small, _SCRATCH_SHARE * self.memory_bytes))
        left = self.memory_bytes - tables - router - scratch - self.rows * shape.copy_bytes
        return int(left // (groups * shape.group_slots)) - 1


def _has_good_codes(shape: Shape, dim: int) -> bool:
    """Whether the codes of all vectors are fine enough for full pages."""
    return bool(shape.code_bytes) and 8 * shape.code_bytes[0] >= _GOOD_CODE_BITS * dim


def _grouped(shape: Shape) -> Shape:
    """With the pages of a group holding about one block of lanes together."""
    return replace(shape, group_pages=max(1, round(LANES / shape.capacity)))


def _full_pages(base: Shape, room: _Room) -> Shape:
    """Pages full of vectors, and codes of all vectors in RAM."""
    shape = _with_codes(_grouped(base), room)
    if room.disk is None or not shape.code_bytes or shape.quantised or shape.capacity < _COPIED_FROM:
        return shape
    if room.holds_all_pages(shape):
        return shape
    copied = _with_codes(replace(shape, copy_pages=room.rows // shape.capacity), room)
    uncopied = replace(copied, copy_pages=0)
    pages = room.disk.copy_pages(uncopied, room.rows, room.dim, room.rotations(uncopied))
    if not _has_good_codes(copied, room.dim) or pages < _LEAST_COPIED_SHARE * copied.copy_pages:
        return shape
    return replace(copied, copy_pages=pages)


def _with_codes(shape: Shape, room: _Room) -> Shape:
    """Codes of all vectors as wide as there is memory for, and narrower ones for smaller budgets."""
    shape = replace(shape, code_bytes=())
    width = room.width(room.code_bytes(shape, 2))
    if width < 1:
        return shape
    widths = [width]
    for share in _NARROWER_SHARES:  # so that smaller budgets can be opened too
        narrow = room.width(replace(room, memory_bytes=int(room.memory_bytes * share)).code_bytes(shape, 2))
        if _LEAST_CODE_BYTES <= narrow < widths[-1]:
            widths.append(narrow)
    return replace(shape, code_bytes=tuple(widths), code_family=room.family)


def _coarse_codes(base: Shape, room: _Room, stored_bytes: int) -> Shape:
    """Coarse codes in RAM, and pages with room for fine codes of their neighbours."""
    place = stored_bytes + base.row_bytes
    wanted = int((base.page_bytes - PAGE_HEADER_BYTES) * _VECTOR_SHARE_WITH_CODES / place)
    capacity = min(base.capacity, max(_LEAST_CAPACITY, wanted))
    router = min(base.router_bytes, _COARSE_ROUTER_BYTES)
    shape = _grouped(replace(base, capacity=capacity, router_bytes=router))
    width = room.width(room.code_bytes(shape, 3))
    if width < _LEAST_CODE_BYTES:
        return _no_codes(base, room, stored_bytes)
    shape = replace(shape, code_bytes=(width,), code_family=room.family)
    return _with_reps(shape, stored_bytes, room.dim, _FINE_REP_BYTES)


def _no_codes(base: Shape, room: _Room, stored_bytes: int) -> Shape:
    """Only the router in RAM: pages are mostly codes of their neighbours."""
    usable = base.page_bytes - PAGE_HEADER_BYTES
    least = math.ceil(base.page_bytes * _WALK_RAW_SHARE / stored_bytes)
    most = int(usable * _WALK_VECTOR_SHARE / (stored_bytes + base.row_bytes))
    capacity = min(base.capacity, max(_LEAST_CAPACITY, min(least, most)))
    shape = replace(base, capacity=capacity, group_pages=1)
    router = _router_that_fits(shape, room)
    while router < min(_LEAST_ROUTER_BYTES, -(-room.dim // 2)) and shape.group_pages < LANES:
        shape = replace(shape, group_pages=2 * shape.group_pages)
        router = _router_that_fits(shape, room)
    return _with_reps(replace(shape, router_bytes=max(4, router)), stored_bytes, room.dim, _REP_BYTES)


def _router_that_fits(shape: Shape, room: _Room) -> int:
    """Bytes of a coded centroid of a group, where the router gets most of the budget."""
    fitting = int(0.85 * room.memory_bytes / shape.group_count(room.rows)) - 2
    return min(_PAGE_ROUTER_BYTES, fitting, -(-room.dim // 2))


def _with_reps(shape: Shape, stored_bytes: int, dim: int, rep_bytes: int) -> Shape:
    width = min(rep_bytes, -(-dim // 2))
    used = PAGE_HEADER_BYTES + shape.capacity * (stored_bytes + shape.row_bytes) + 8
    count = max(0, (shape.page_bytes - used) // (4 + width + 1))
    return replace(shape, rep_bytes=width if count else 0, rep_capacity=count)


def _with_links(shape: Shape, stored_bytes: int) -> Shape:
    """Links to other pages fill what is left of a page."""
    used = PAGE_HEADER_BYTES + shape.capacity * (stored_bytes + shape.row_bytes) + shape.row_bytes
    used += shape.rep_capacity * (4 + shape.rep_bytes + 1)
    return replace(shape, link_capacity=max(0, min(_MOST_LINKS, (shape.page_bytes - used) // _LINK_BYTES)))
