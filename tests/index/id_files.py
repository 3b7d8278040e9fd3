"""Write the ids of a segment and open them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pageann.index.builder.ids import write_ids
from pageann.index.search.ids import IdMap
from pageann.storage.files import OsFiles
from tests.reference.sample_index import TAG


def written(folder: Path, order: np.ndarray, ids: Any) -> tuple[Path, dict[str, Any]]:
    """(path, description) of an ``ids.bin``."""
    folder.mkdir(exist_ok=True)
    path = folder / "ids.bin"
    _, meta = write_ids(OsFiles(), path, order, ids, TAG)
    return path, meta


def opened(folder: Path, ids: Any, rows: int, *, resident: bool = False, seed: int = 0) -> IdMap:
    """The ids of ``rows`` rows in random slots."""
    order = np.random.default_rng(seed).permutation(rows).astype(np.int32)
    path, meta = written(folder, order, ids)
    return IdMap.open(path, meta, rows, TAG, resident=resident)
