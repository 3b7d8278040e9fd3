"""Codes of as many bits for every dimension: RaBitQ, with a factor a vector, and plain scalar ones.

A number of b bits is the sum of its pieces of 4, 2 and 1 bits, so the codes are 4-bit parts like those of a
product quantiser, whose words are not trained but follow from the grid; shuffles score them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.builder.quantizer import Rotated, round_rotation
from pageann.index.code_families import Family, grid_planes, plane_starts
from pageann.index.kernels.codes import CODEWORDS
from pageann.index.kernels.grid import factor_rows, grid_rows, pack_planes, unpack_planes

__all__ = ["GridCoder", "train_grid"]

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_TAIL = 1e-4
"""Share of factors, or of the elements of a dimension, at each end that may be clipped."""
_LEVELS = 255.0


@dataclass(frozen=True, slots=True)
class GridCoder(Rotated):
    """``bits`` a dimension: element i is low[i] + step[i] * number, times a factor where codes have one."""

    bits: int
    low: Floats
    step: Floats
    factored: bool
    factor_low: float = 0.0
    factor_step: float = 0.0

    @property
    def _planes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(bits, shift) of each piece of a number."""
        sizes, shifts = zip(*grid_planes(self.bits), strict=True)
        return np.array(sizes), np.array(shifts)

    @property
    def starts(self) -> npt.NDArray[np.int32]:
        """Bounds of the parts, which go over the dimensions once for each piece."""
        return np.array(plane_starts(grid_planes(self.bits), len(self.low)), np.int32)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code, its factor included."""
        return len(self.starts) // 2 + int(self.factored)

    def encode(self, rows: Floats) -> Bytes:
        """Codes (rows, code_bytes) of float32 rows."""
        return self.encode_rotated(self.rotate(rows))

    def encode_rotated(self, rotated: Floats) -> Bytes:
        """Codes of rows that are in the rotated space already."""
        numbers = np.empty(rotated.shape, np.uint8)
        codes = np.zeros((len(rotated), self.code_bytes), np.uint8)
        if self.factored:
            factors = np.empty(len(rotated), np.float32)
            grid_rows(rotated, self.bits, numbers, factors)
            codes[:, -1] = self._factor_bytes(factors)
        else:
            steps = np.where(self.step > 0, self.step, np.float32(1))
            numbers[:] = np.clip(np.rint((rotated - self.low) / steps), 0, (1 << self.bits) - 1)
        pack_planes(numbers, *self._planes, codes)
        return codes

    def decode_rotated(self, codes: Bytes) -> Floats:
        """What codes stand for, in the rotated space."""
        numbers = np.empty((len(codes), len(self.low)), np.uint8)
        unpack_planes(codes, *self._planes, numbers)
        if not self.factored:
            return np.asarray(self.low + self.step * numbers, np.float32)
        rotated = np.empty(numbers.shape, np.float32)
        known = codes[:, -1].astype(np.float32)
        factors = np.float32(self.factor_low) + np.float32(self.factor_step) * known
        factor_rows(numbers, self.bits, factors, rotated)
        return rotated

    def decode(self, codes: Bytes) -> Floats:
        """What codes stand for, in the space of the vectors."""
        return self.unrotate(self.decode_rotated(codes))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored of it, as the format has it."""
        return {"rotation": self.rotation, "starts": self.starts, "words": self._words()}

    def meta(self) -> dict[str, Any]:
        """What is stored beside the arrays."""
        factor = {"factor_low": self.factor_low, "factor_step": self.factor_step} if self.factored else {}
        return {"scale": self.scale, **factor}

    def _factor_bytes(self, factors: Floats) -> Bytes:
        step = self.factor_step if self.factor_step > 0 else 1.0
        return np.asarray(np.clip(np.rint((factors - self.factor_low) / step), 0, _LEVELS), np.uint8)

    def _words(self) -> Floats:
        """Words of all parts: what their bits add to their dimensions; those of the first plane add low."""
        made = []
        numbers = np.arange(CODEWORDS)
        for plane, (size, shift) in enumerate(grid_planes(self.bits)):
            dims = 4 // size
            digits = (numbers[:, None] >> (size * np.arange(dims))) & ((1 << size) - 1)
            for first in range(0, len(self.low), dims):
                step, low = self.step[first : first + dims], self.low[first : first + dims]
                values = step * np.float32(1 << shift) * digits[:, : len(step)].astype(np.float32)
                made.append((values + low if plane == 0 else values).astype(np.float32).ravel())
        return np.concatenate(made)


def _random_rotation(dim: int, seed: int) -> npt.NDArray[np.float64]:
    matrix, upper = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    return np.asarray(matrix * np.sign(np.diag(upper)))


def train_grid(sample: Floats, family: Family, code_bytes: int, *, rotate: bool, seed: int) -> GridCoder:
    """A coder of ``family`` for codes of up to ``code_bytes``; ``sample`` float32 (m, dim) gives ranges.

    Deterministic in its arguments.
    """
    dim = sample.shape[1]
    bits = family.bits(code_bytes, dim)
    none = np.empty((0, 0), np.int16), 1.0
    if family is Family.SQ8:
        low, high = (np.quantile(sample, tail, axis=0) for tail in (_TAIL, 1 - _TAIL))
        step = (high - low) / ((1 << bits) - 1)
        return GridCoder(*none, bits, low.astype(np.float32), step.astype(np.float32), factored=False)
    rotation = round_rotation(_random_rotation(dim, seed)) if rotate else none
    middle = np.full(dim, 0.5 - (1 << (bits - 1)), np.float32)
    coder = GridCoder(*rotation, bits, middle, np.ones(dim, np.float32), factored=True)
    rotated, numbers = coder.rotate(sample), np.empty(sample.shape, np.uint8)
    factors = np.empty(len(sample), np.float32)
    grid_rows(np.ascontiguousarray(rotated), bits, numbers, factors)
    least, most = (float(np.quantile(factors, tail)) for tail in (_TAIL, 1 - _TAIL))
    factor_low, factor_step = float(np.float32(least)), float(np.float32((most - least) / _LEVELS))
    return GridCoder(
        *rotation, bits, middle, coder.step, factored=True, factor_low=factor_low, factor_step=factor_step
    )
