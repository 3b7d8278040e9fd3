"""Train product quantisers of 4 or 8 bits a part, with a rotation where it pays for its bytes.

The rotation is the eigenvectors of the covariance, dealt to parts of free lengths so that each part
gets the same number of bits by reverse water-filling (the parametric form of optimised product
quantisation, Ge, He, Ke, Sun, CVPR 2013, without its parts of equal length). On SIFT residuals this
errs a third less than parts of equal length after rounds of optimisation, which then gain another
1 % at most and are left out. The rotation is rounded to int16 before the codewords are trained, so
that what is stored is what was trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.kernels.codes import CODEWORDS, assign_parts, decode_rows, encode_rows, part_sums

__all__ = ["ROUNDS", "Coder", "Quantizer", "Rotated", "round_rotation", "train_quantizer"]

Floats = npt.NDArray[np.float32]

_SAMPLE_ROWS = 65_536
ROUNDS = 16
"""Of k-means, over the whole sample."""
_COVARIANCE_ROWS = 4096
_ROUND_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Rotated:
    """What turns vectors: ``rotation`` int16 (dim, dim) times ``scale``; empty where nothing is turned."""

    rotation: npt.NDArray[np.int16]
    scale: float

    def rotate(self, rows: Floats) -> Floats:
        """Rows in the rotated space."""
        if not self.rotation.size:
            return np.ascontiguousarray(rows, dtype=np.float32)
        matrix = self.rotation.astype(np.float32) * np.float32(self.scale)
        return np.asarray(rows, dtype=np.float32) @ matrix.T

    def unrotate(self, rotated: Floats) -> Floats:
        """Rows back in the space of the vectors."""
        if not self.rotation.size:
            return rotated
        matrix = self.rotation.astype(np.float32) * np.float32(self.scale)
        return np.asarray(rotated @ matrix)


class Coder(Protocol):
    """What codes are made with."""

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""

    def rotate(self, rows: Floats) -> Floats:
        """Rows in the space that is coded."""

    def encode_rotated(self, rotated: Floats) -> npt.NDArray[np.uint8]:
        """Codes (rows, code_bytes) of rows that are in that space."""

    def decode_rotated(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in that space."""

    def encode(self, rows: Floats) -> npt.NDArray[np.uint8]:
        """Codes (rows, code_bytes) of float32 rows."""

    def decode(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in the space of the vectors."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored of it, as the format has it."""

    def meta(self) -> dict[str, Any]:
        """What is stored beside the arrays."""


@dataclass(frozen=True, slots=True)
class Quantizer(Rotated):
    """Codewords and the rotation in front of them.

    ``starts`` int32 (parts + 1,); ``codewords`` float32 (words * dim,): see
    :mod:`pageann.index.kernels.codes`.
    """

    starts: npt.NDArray[np.int32]
    codewords: Floats
    words: int = CODEWORDS
    """Of a part: 16 or 256."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.starts) - 1

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return (self.parts + 1) // 2 if self.words == CODEWORDS else self.parts

    def encode(self, rows: Floats) -> npt.NDArray[np.uint8]:
        """Codes (rows, code_bytes) of float32 rows."""
        return self.encode_rotated(self.rotate(rows))

    def encode_rotated(self, rotated: Floats) -> npt.NDArray[np.uint8]:
        """Codes of rows that are in the rotated space already."""
        codes = np.empty((len(rotated), self.code_bytes), np.uint8)
        if self.words == CODEWORDS:
            encode_rows(rotated, self.starts, self.codewords, codes)
        else:
            assign_parts(rotated, self.starts, self.words, self.codewords, codes)
        return codes

    def decode_rotated(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in the rotated space."""
        rotated = np.empty((len(codes), int(self.starts[-1])), np.float32)
        decode_rows(codes, self.starts, self.words, self.codewords, rotated)
        return rotated

    def decode(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in the space of the vectors."""
        return self.unrotate(self.decode_rotated(codes))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored of it, as the format has it."""
        return {"rotation": self.rotation, "starts": self.starts, "words": self.codewords}

    def meta(self) -> dict[str, Any]:
        """What is stored beside the arrays."""
        return {"scale": self.scale}


def _level_bits(variances: npt.NDArray[np.float64], total_bits: float) -> npt.NDArray[np.float64]:
    """Bits of each dimension (variances descending) by reverse water-filling; they sum to ``total_bits``."""
    logs = np.log2(variances)
    for used in range(len(variances), 0, -1):
        level = (logs[:used].sum() - 2 * total_bits) / used
        if logs[used - 1] >= level:
            break
    return np.asarray(np.maximum(0.0, (logs - level) / 2))


def _deal(variances: npt.NDArray[np.float64], parts: int, part_bits: float) -> list[list[int]]:
    """Deal dimensions to ``parts`` parts so that each gets about the same number of useful bits."""
    order = np.argsort(-variances, kind="stable")
    floor = max(float(variances.max()), 1e-12) * 1e-9
    bits = _level_bits(np.maximum(variances[order], floor), part_bits * parts)
    totals, sizes = np.zeros(parts), np.zeros(parts, np.int64)
    members: list[list[int]] = [[] for _ in range(parts)]
    for place, dimension in enumerate(order):
        if place < parts:
            part = place
        elif bits[place] > 0:
            part = int(np.lexsort((sizes, totals))[0])
        else:
            part = int(np.argmin(sizes))
        members[part].append(int(dimension))
        totals[part] += bits[place]
        sizes[part] += 1
    return members


def _first_codewords(
    rotated: Floats, starts: npt.NDArray[np.int32], words: int, rng: np.random.Generator
) -> Floats:
    codewords = np.empty(words * int(starts[-1]), np.float32)
    for first, last in pairwise(starts.tolist()):
        picks = rng.choice(len(rotated), words, replace=len(rotated) < words)
        codewords[words * first : words * last] = rotated[picks, first:last].ravel()
    return codewords


def _lloyd_round(
    rotated: Floats, starts: npt.NDArray[np.int32], count: int, codewords: Floats, threads: int
) -> npt.NDArray[np.uint8]:
    """One k-means round of every part, in place; returns the assignment before it.

    Sums are taken in blocks of a fixed size and added in their order, whatever runs them.
    """
    parts = len(starts) - 1
    blocks = ranges(len(rotated), _ROUND_ROWS)
    assigned = np.empty((len(rotated), parts), np.uint8)
    block_sums = np.zeros((len(blocks), len(codewords)), np.float64)
    block_counts = np.zeros((len(blocks), parts, count), np.int64)

    def assign(number: int) -> None:
        part = slice(*blocks[number])
        assign_parts(rotated[part], starts, count, codewords, assigned[part])
        part_sums(rotated[part], assigned[part], starts, block_sums[number], block_counts[number])

    run_pieces(assign, range(len(blocks)), threads)
    sums, counts = block_sums.sum(axis=0), block_counts.sum(axis=0)
    for p in range(parts):
        first, last = int(starts[p]), int(starts[p + 1])
        words = codewords[count * first : count * last].reshape(count, last - first)
        means = sums[count * first : count * last].reshape(count, last - first)
        used = counts[p] > 0
        words[used] = (means[used] / counts[p][used, None]).astype(np.float32)
        for word in np.flatnonzero(~used):  # an empty codeword splits the fullest one
            fullest = int(np.argmax(np.where(used, counts[p], -1)))
            spread = rotated[assigned[:, p] == fullest, first:last]
            words[word] = spread[(int(word) * 7919) % len(spread)]
            counts[p, fullest] //= 2
    return assigned


def round_rotation(matrix: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], float]:
    scale = float(np.float32(max(float(np.abs(matrix).max()), 1e-12) / 32_767))
    return np.rint(matrix / scale).astype(np.int16), scale


def _covariance(sample: Floats) -> npt.NDArray[np.float64]:
    mean = sample.mean(axis=0, dtype=np.float64)
    total = np.zeros((sample.shape[1], sample.shape[1]))
    for first, last in ranges(len(sample), _COVARIANCE_ROWS):
        block = sample[first:last] - mean
        total += block.T @ block
    return total / len(sample)


def train_quantizer(
    sample: Floats, code_bytes: int, *, rotate: bool, seed: int, threads: int = 1, words: int = CODEWORDS
) -> Quantizer:
    """Train on ``sample`` float32 (m, dim) for codes of ``code_bytes`` bytes.

    There are as many parts of ``words`` (16 or 256) as have room, but no more than dim. Without ``rotate``
    each part is a run of dimensions as they are. Deterministic in its arguments when BLAS runs on one thread.
    """
    rng = np.random.default_rng(seed)
    dim = sample.shape[1]
    parts = min(2 * code_bytes if words == CODEWORDS else code_bytes, dim)
    if len(sample) > _SAMPLE_ROWS:
        sample = sample[np.sort(rng.choice(len(sample), _SAMPLE_ROWS, replace=False))]
    if rotate:
        variances, vectors = np.linalg.eigh(_covariance(sample))
        members = _deal(variances, parts, math.log2(words))
        rotation, scale = round_rotation(vectors.T[[d for part in members for d in part]])
        rotated = np.ascontiguousarray(sample @ (rotation.astype(np.float32) * np.float32(scale)).T)
    else:
        members = [list(part) for part in np.array_split(np.arange(dim), parts)]
        rotation, scale = np.empty((0, 0), np.int16), 1.0
        rotated = np.ascontiguousarray(sample, dtype=np.float32)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in members])]).astype(np.int32)
    codewords = _first_codewords(rotated, starts, words, rng)
    for _ in range(ROUNDS):
        _lloyd_round(rotated, starts, words, codewords, threads)
    return Quantizer(rotation, scale, starts, codewords, words)
