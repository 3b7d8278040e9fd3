"""Families of codes of vectors: what a record of each consists of, and what it takes."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence

from pageann.errors import InvalidArgument
from pageann.index.kernels.state import KIND_BYTES, KIND_FACTORED, KIND_NIBBLES

__all__ = ["AUTO", "Family", "grid_planes", "parse_family", "plane_starts"]

AUTO = "auto"
"""The one that orders a sample of the data best for what it costs, no wider than ``pq4`` would be."""
_MOST_BITS = 8
_WORD_BYTES = 4


class Family(enum.StrEnum):
    """What the codes of all vectors are made of. Codes of pages and of the router are ``pq4``."""

    PQ4 = "pq4"
    """Product quantisation with 16 words a part, scored by shuffles."""
    PQ8 = "pq8"
    """The same with 256 words a part: closer at equal bytes, and dearer to score."""
    RABITQ = "rabitq"
    """1 to 8 bits a dimension of a randomly turned vector, and a factor of its own."""
    SQ8 = "sq8"
    """8 bits a dimension of the vector as it is."""

    @property
    def kind(self) -> int:
        """How kernels score it."""
        return {Family.PQ8: KIND_BYTES, Family.RABITQ: KIND_FACTORED}.get(self, KIND_NIBBLES)

    @property
    def words(self) -> int:
        """Of a part."""
        return 256 if self is Family.PQ8 else 16

    def has_bounds(self, starts: Sequence[int], dim: int) -> bool:
        """Whether parts of codes of ``dim`` dimensions may have these bounds, which ascend from 0."""
        if self in (Family.PQ4, Family.PQ8):
            return starts[-1] == dim
        least = _MOST_BITS if self is Family.SQ8 else 1
        grids = (plane_starts(grid_planes(bits), dim) for bits in range(least, _MOST_BITS + 1))
        return list(starts) in grids

    def bits(self, width: int, dim: int) -> int:
        """Bits a dimension of codes of up to ``width`` bytes where each has as many; 0: it takes more bytes.

        0 for product quantisers too, which deal bits out to dimensions.
        """
        if self is Family.SQ8:
            return _MOST_BITS if width >= dim else 0
        if self is Family.RABITQ:
            fitting = (bits for bits in range(_MOST_BITS, 0, -1) if self._grid_bytes(bits, dim) <= width)
            return next(fitting, 0)
        return 0

    def code_bytes(self, width: int, dim: int) -> int:
        """Bytes of a code, its factor included, that may have ``width``; 0: they are too few."""
        if self is Family.PQ4:
            return (min(2 * width, dim) + 1) // 2
        if self is Family.PQ8:
            return min(width, dim)
        bits = self.bits(width, dim)
        return self._grid_bytes(bits, dim) if bits else 0

    def widths(self, widths: Iterable[int], dim: int) -> tuple[int, ...]:
        """What codes take that may have ``widths`` (descending), without those that come to nothing."""
        found = (self.code_bytes(width, dim) for width in widths)
        return tuple(dict.fromkeys(width for width in found if width))

    def maker_bytes(self, width: int, dim: int) -> int:
        """Bytes of what codes are made with, but a rotation: the bounds of the parts, and their words."""
        if self is Family.PQ4:
            return 4 * (min(2 * width, dim) + 1) + 16 * _WORD_BYTES * dim
        if self is Family.PQ8:
            return 4 * (min(width, dim) + 1) + 256 * _WORD_BYTES * dim
        planes = list(grid_planes(self.bits(width, dim)))
        return 4 * len(plane_starts(planes, dim)) + 16 * _WORD_BYTES * dim * len(planes)

    def _grid_bytes(self, bits: int, dim: int) -> int:
        factor = 1 if self is Family.RABITQ else 0
        return len(plane_starts(grid_planes(bits), dim)) // 2 + factor


def grid_planes(bits: int) -> Iterator[tuple[int, int]]:
    """(bits, shift) of the pieces, each of 4, 2 or 1 bits, of a number of ``bits``, the highest first."""
    while bits:
        size = 4 if bits >= 4 else 2 if bits >= 2 else 1
        bits -= size
        yield size, bits


def plane_starts(planes: Iterable[tuple[int, int]], dim: int) -> list[int]:
    """Bounds of 4-bit parts that go over ``dim`` dimensions once for each plane."""
    starts = [0]
    for size, _ in planes:
        base = starts[-1]
        starts += [base + min(first, dim) for first in range(4 // size, dim + 4 // size, 4 // size)]
    return starts


def parse_family(name: str) -> Family | None:
    """The family called ``name``; None for ``auto``. Raises InvalidArgument."""
    if name == AUTO:
        return None
    try:
        return Family(name)
    except ValueError:
        raise InvalidArgument(f"codes={name!r}: give one of {AUTO}, {', '.join(Family)}") from None
