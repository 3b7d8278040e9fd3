"""Train what codes of any family are made with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pageann.index.builder.grid import train_grid
from pageann.index.builder.quantizer import Coder, train_quantizer
from pageann.index.code_families import Family
from pageann.index.kernels.codes import CODEWORDS
from pageann.index.kernels.scan import BYTE_WORDS

__all__ = ["train_coder"]


def train_coder(
    family: Family,
    sample: npt.NDArray[np.float32],
    code_bytes: int,
    *,
    rotate: bool,
    seed: int,
    threads: int = 1,
) -> Coder:
    """Train on ``sample`` float32 (m, dim) for codes of ``family`` of up to ``code_bytes`` bytes."""
    if family in (Family.RABITQ, Family.SQ8):
        return train_grid(sample, family, code_bytes, rotate=rotate, seed=seed)
    words = CODEWORDS if family is Family.PQ4 else BYTE_WORDS
    return train_quantizer(sample, code_bytes, rotate=rotate, seed=seed, threads=threads, words=words)
