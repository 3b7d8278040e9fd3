"""Compile every kernel once, by building and searching small indexes of each type."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument
from pageann.index.builder.pipeline import BuildOptions, build_index
from pageann.index.search.opened import OpenedIndex, Quality
from pageann.jit import quiet_compilation
from pageann.types import DTYPES, Metric, parse_bytes

__all__ = ["warm_kernels"]

_ROWS = 3000
_DIM = 48


def warm_kernels(dtypes: Iterable[str] | None = None) -> float:
    """Compile (or load) what ``dtypes`` need, by name; all of them by default. Returns seconds."""
    known = [str(dtype) for dtype in DTYPES]
    wanted = known if dtypes is None else list(dtypes)
    for name in wanted:
        if name not in known:
            raise InvalidArgument(f"dtype {name!r} is not one of {', '.join(known)}")
    quiet_compilation()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pageann-warmup-") as folder:
        for name in wanted:
            _exercise(Path(folder) / name, name)
    return time.monotonic() - begin


def _exercise(path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 100, (_ROWS, _DIM)).astype(dtype)
    options = BuildOptions(Metric.L2, parse_bytes("2MiB"), 0, None, None, 0, 1, True)
    build_index(open_vectors(vectors), path, None, options)
    index = OpenedIndex.open(path, None, "auto", 1)
    try:
        index.search(index.plan_call(vectors[:2], 10, Quality(effort=20), None, 0, None), True)
        index.search(index.plan_call(vectors[:2], 10, Quality(exact=True), None, 0, None), True)
        index.get(np.arange(2))
    finally:
        index.close()
