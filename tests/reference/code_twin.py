"""Product quantisation of 4 bits a part, and its scans, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORDS = 16
LANES = 32

Bytes = NDArray[np.uint8]


@dataclass
class Codebook:
    """Codewords of every part: one array (16, length) a part."""

    words: list[NDArray[np.float32]]

    @property
    def starts(self) -> NDArray[np.int32]:
        """As kernels take them."""
        return np.concatenate([[0], np.cumsum([part.shape[1] for part in self.words])]).astype(np.int32)

    @property
    def flat(self) -> NDArray[np.float32]:
        """As kernels take them."""
        return np.concatenate([part.ravel() for part in self.words])

    @property
    def code_bytes(self) -> int:
        """Bytes of a code."""
        return (len(self.words) + 1) // 2

    def parts(self, rows: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """The dimensions of each part."""
        return [rows[:, first:last].astype(np.float64) for first, last in pairwise(self.starts.tolist())]

    def assign(self, rows: NDArray[np.float32]) -> Bytes:
        """Nearest codeword of each part (rows, parts); the first of equals."""
        nearest = [
            ((part[:, None] - words[None]) ** 2).sum(axis=2).argmin(axis=1)
            for part, words in zip(self.parts(rows), self.words, strict=True)
        ]
        return np.stack(nearest, axis=1).astype(np.uint8)

    def pack(self, assigned: Bytes) -> Bytes:
        """Two parts a byte, the even one low."""
        padded = np.pad(assigned, ((0, 0), (0, assigned.shape[1] % 2)))
        return np.asarray(padded[:, ::2] | (padded[:, 1::2] << 4), np.uint8)

    def unpack(self, codes: Bytes) -> Bytes:
        """The codewords' numbers (rows, parts)."""
        both = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
        return both[:, : len(self.words)]

    def decode(self, codes: Bytes) -> NDArray[np.float32]:
        """What codes stand for."""
        numbers = self.unpack(codes)
        return np.concatenate([words[numbers[:, p]] for p, words in enumerate(self.words)], axis=1)

    def terms(self, query: NDArray[np.float32], inner: bool) -> NDArray[np.float64]:
        """(parts, 16): each codeword's squared distance to the query, or minus twice its product."""
        rows = []
        for part, words in zip(self.parts(query[None]), self.words, strict=True):
            wide = words.astype(np.float64)
            rows.append(-2 * (wide @ part[0]) if inner else ((wide - part[0]) ** 2).sum(axis=1))
        return np.stack(rows)


def codebook(seed: int, lengths: list[int], *, whole: bool = False) -> Codebook:
    """Random codewords for parts of the given lengths; small whole numbers where ``whole``."""
    random = np.random.default_rng(seed)

    def draw(shape: tuple[int, int]) -> NDArray[np.float32]:
        values = random.integers(-4, 5, shape) if whole else random.standard_normal(shape)
        return np.asarray(values, np.float32)

    return Codebook([draw((WORDS, length)) for length in lengths])


def doubled_tables(halves: Bytes) -> Bytes:
    """Tables as scans take them, flat, from ``halves`` uint8 (rows, 2, 16): each half twice."""
    return np.repeat(halves[:, :, None], 2, axis=2).ravel()


def lane_sums(codes: Bytes, stride: int, rows: int, halves: Bytes, lanes: int = LANES) -> NDArray[np.int64]:
    """Sum of every lane: byte ``lane`` of each row of ``stride`` bytes, looked up in its row's tables."""
    sums = np.zeros(lanes, np.int64)
    for row in range(rows):
        byte = codes[row * stride : row * stride + lanes]
        sums += halves[row, 0, byte & 15].astype(np.int64) + halves[row, 1, byte >> 4]
    return sums


def lane_major_twin(codes: Bytes, group_slots: int) -> Bytes:
    """Codes byte by byte over the lanes of a chunk, chunk by chunk, group by group."""
    groups = -(-len(codes) // group_slots)
    out: list[int] = []
    for group in range(groups):
        for first in range(0, group_slots, LANES):
            lanes = range(group * group_slots + first, group * group_slots + min(first + LANES, group_slots))
            for m in range(codes.shape[1]):
                out += [int(codes[lane, m]) if lane < len(codes) else 0 for lane in lanes]
    return np.array(out, np.uint8)


def lane_minor(flat: Bytes, rows: int, width: int, group_slots: int) -> Bytes:
    """Codes (rows, width) out of what :func:`lane_major_twin` makes; bytes behind them are ignored."""
    codes = np.zeros((rows, width), np.uint8)
    at = 0
    for group in range(-(-rows // group_slots)):
        for first in range(0, group_slots, LANES):
            lanes = min(LANES, group_slots - first)
            chunk = flat[at : at + lanes * width].reshape(width, lanes)
            at += lanes * width
            start = group * group_slots + first
            held = max(0, min(lanes, rows - start))
            codes[start : start + held] = chunk[:, :held].T
    return codes
