"""Train product quantisers of 4 bits a part, with a rotation where it pays for its bytes.

The rotation starts as the eigenvectors of the covariance, dealt to the parts so that the products of
their variances are level, and is then improved together with the codewords (optimised product
quantisation: Ge, He, Ke, Sun, CVPR 2013). It is rounded to int16 before the codewords are trained
for the last time, so that what is stored is what was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.codes import CODEWORDS, assign_parts, decode_rows, encode_rows, part_sums

__all__ = ["Quantizer", "train_quantizer"]

Floats = npt.NDArray[np.float32]

_SAMPLE_ROWS = 65_536
_ROTATION_ROUNDS = 10
_FINAL_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Codewords and the rotation in front of them.

    ``rotation`` int16 (dim, dim) times ``scale``, or empty where there is none; ``starts`` int32
    (parts + 1,); ``codewords`` float32 (16 * dim,), see :mod:`pageann.index.kernels.codes`.
    """

    rotation: npt.NDArray[np.int16]
    scale: float
    starts: npt.NDArray[np.int32]
    codewords: Floats

    @property
    def parts(self) -> int:
        """Number of 4-bit parts."""
        return len(self.starts) - 1

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        return (self.parts + 1) // 2

    def rotate(self, rows: Floats) -> Floats:
        """Rows in the rotated space."""
        if not self.rotation.size:
            return np.ascontiguousarray(rows, dtype=np.float32)
        matrix = self.rotation.astype(np.float32) * np.float32(self.scale)
        return np.asarray(rows, dtype=np.float32) @ matrix.T

    def encode(self, rows: Floats) -> npt.NDArray[np.uint8]:
        """Codes (rows, code_bytes) of float32 rows."""
        codes = np.empty((len(rows), self.code_bytes), np.uint8)
        encode_rows(self.rotate(rows), self.starts, self.codewords, codes)
        return codes

    def decode_rotated(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in the rotated space."""
        rotated = np.empty((len(codes), int(self.starts[-1])), np.float32)
        decode_rows(codes, self.starts, self.codewords, rotated)
        return rotated

    def unrotate(self, rotated: Floats) -> Floats:
        """Rows back in the space of the vectors."""
        if not self.rotation.size:
            return rotated
        matrix = self.rotation.astype(np.float32) * np.float32(self.scale)
        return np.asarray(rotated @ matrix)

    def decode(self, codes: npt.NDArray[np.uint8]) -> Floats:
        """What codes stand for, in the space of the vectors."""
        return self.unrotate(self.decode_rotated(codes))


def _deal(variances: npt.NDArray[np.float64], parts: int) -> npt.NDArray[np.intp]:
    """Order of dimensions that gives each part a run of them with level products of variances."""
    dim = len(variances)
    sizes = np.full(parts, dim // parts)
    sizes[: dim % parts] += 1
    floor = max(float(variances.max()), 1e-12) * 1e-9
    weights = np.log(np.maximum(variances, floor)) - np.log(floor) + 1e-6
    totals = np.zeros(parts)
    members: list[list[int]] = [[] for _ in range(parts)]
    for dimension in np.argsort(-weights, kind="stable"):
        free = [p for p in range(parts) if len(members[p]) < sizes[p]]
        part = min(free, key=lambda p: (totals[p], p))
        members[part].append(int(dimension))
        totals[part] += weights[dimension]
    return np.array([dimension for part in members for dimension in part], dtype=np.intp)


def _part_starts(dim: int, parts: int) -> npt.NDArray[np.int32]:
    sizes = np.full(parts, dim // parts, np.int32)
    sizes[: dim % parts] += 1
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def _first_codewords(rotated: Floats, starts: npt.NDArray[np.int32], rng: np.random.Generator) -> Floats:
    codewords = np.empty(CODEWORDS * int(starts[-1]), np.float32)
    for first, last in zip(starts[:-1], starts[1:], strict=True):
        picks = rng.choice(len(rotated), CODEWORDS, replace=len(rotated) < CODEWORDS)
        codewords[CODEWORDS * first : CODEWORDS * last] = rotated[picks, first:last].ravel()
    return codewords


def _lloyd_round(rotated: Floats, starts: npt.NDArray[np.int32], codewords: Floats) -> npt.NDArray[np.uint8]:
    """One k-means round of every part, in place; returns the assignment before it."""
    parts = len(starts) - 1
    assigned = np.empty((len(rotated), parts), np.uint8)
    assign_parts(rotated, starts, codewords, assigned)
    sums = np.zeros(len(codewords), np.float64)
    counts = np.zeros((parts, CODEWORDS), np.int64)
    part_sums(rotated, assigned, starts, sums, counts)
    for p in range(parts):
        first, last = int(starts[p]), int(starts[p + 1])
        words = codewords[CODEWORDS * first : CODEWORDS * last].reshape(CODEWORDS, last - first)
        means = sums[CODEWORDS * first : CODEWORDS * last].reshape(CODEWORDS, last - first)
        used = counts[p] > 0
        words[used] = (means[used] / counts[p][used, None]).astype(np.float32)
        for word in np.flatnonzero(~used):  # an empty codeword splits the fullest one
            fullest = int(np.argmax(counts[p]))
            spread = rotated[assigned[:, p] == fullest, first:last]
            words[word] = spread[(int(word) * 7919) % len(spread)] if len(spread) else 0.0
            counts[p, fullest] //= 2
            counts[p, word] = counts[p, fullest]
    return assigned


def _principal_rotation(sample: Floats, parts: int) -> npt.NDArray[np.float64]:
    covariance = (sample.T.astype(np.float64) @ sample.astype(np.float64)) / max(len(sample), 1)
    variances, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors.T[_deal(variances, parts)])


def _round_rotation(matrix: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], float]:
    scale = float(np.float32(max(float(np.abs(matrix).max()), 1e-12) / 32_767))
    return np.rint(matrix / scale).astype(np.int16), scale


def train_quantizer(sample: Floats, code_bytes: int, *, rotate: bool, seed: int) -> Quantizer:
    """Train on ``sample`` float32 (m, dim) for codes of ``code_bytes`` bytes (parts = min(2 * bytes, dim)).

    Deterministic in its arguments when BLAS runs on one thread.
    """
    rng = np.random.default_rng(seed)
    dim = sample.shape[1]
    parts = min(2 * code_bytes, dim)
    starts = _part_starts(dim, parts)
    if len(sample) > _SAMPLE_ROWS:
        sample = sample[np.sort(rng.choice(len(sample), _SAMPLE_ROWS, replace=False))]
    if not rotate:
        rotation, scale = np.empty((0, 0), np.int16), 1.0
        rotated = np.ascontiguousarray(sample, dtype=np.float32)
        codewords = _first_codewords(rotated, starts, rng)
    else:
        matrix = _principal_rotation(sample, parts)
        rotated = np.ascontiguousarray(sample @ matrix.T.astype(np.float32))
        codewords = _first_codewords(rotated, starts, rng)
        if parts < dim:
            for _ in range(4):
                _lloyd_round(rotated, starts, codewords)
            for _ in range(_ROTATION_ROUNDS):
                assigned = _lloyd_round(rotated, starts, codewords)
                decoded = np.empty_like(rotated)
                packed = assigned[:, 0::2].copy()
                packed[:, : assigned[:, 1::2].shape[1]] |= assigned[:, 1::2] << 4
                decode_rows(packed, starts, codewords, decoded)
                left, _, right = np.linalg.svd(decoded.T.astype(np.float64) @ sample.astype(np.float64))
                matrix = left @ right
                rotated = np.ascontiguousarray(sample @ matrix.T.astype(np.float32))
        rotation, scale = _round_rotation(matrix)
        rotated = np.ascontiguousarray(sample @ (rotation.astype(np.float32) * np.float32(scale)).T)
    for _ in range(_FINAL_ROUNDS):
        _lloyd_round(rotated, starts, codewords)
    return Quantizer(rotation, scale, starts, codewords)
