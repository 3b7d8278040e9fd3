"""A sound file of another index in the place of one's own.

Codes of another build have the right shape and a sound checksum, and would rank candidates by the
vectors of that build: answers would differ without a word. Each bundle carries the segment's tag, which
opening compares.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import pageann

ROWS, DIM = 2000, 16


def _built(path: Path, seed: int) -> Path:
    vectors = np.random.default_rng(seed).integers(0, 255, (ROWS, DIM)).astype(np.uint8)
    pageann.build(vectors, path, memory="1MiB")
    return path


@pytest.mark.parametrize("kind", ["router.bin", "codes-*.bin"])
def test_bundle_of_another_build_is_refused(tmp_path: Path, kind: str) -> None:
    ours, theirs = _built(tmp_path / "ours", 1), _built(tmp_path / "theirs", 2)
    for own in ours.glob(f"seg-*/{kind}"):
        shutil.copy(next(theirs.glob(f"seg-*/{own.name}")), own)
    with pytest.raises(pageann.DamagedIndex, match=r"another index|bytes"):
        pageann.open(ours)
