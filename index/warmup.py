"""Compile every kernel once, by building and searching small indexes of each type."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.datasets.source import open_vectors
from pageann.errors import InvalidArgument
from pageann.index.builder.both_ways import lists_both_ways
from pageann.index.builder.neighbours import neighbour_lists
from pageann.index.builder.pipeline import BuildOptions, build_index
from pageann.index.builder.residency import Residency
from pageann.index.builder.trees import balanced_order
from pageann.index.search.opened import OpenedIndex, Quality
from pageann.jit import quiet_compilation
from pageann.types import DTYPES, Metric, parse_bytes

__all__ = ["warm_kernels"]

_ROWS = 3000
_DIM = 48
_MEMORY = "2MiB"
_NODE_ROWS = 512
_ROOM_BYTES = 1 << 30


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
            _exercise(Path(folder), name, has_all_ways=name == wanted[0])
    return time.monotonic() - begin


def _exercise(folder: Path, dtype: str, has_all_ways: bool) -> None:
    """Do what calls the kernels of a type; ``has_all_ways``: also those that all types share."""
    vectors = np.random.default_rng(0).integers(0, 100, (_ROWS, _DIM)).astype(dtype)
    path = folder / dtype
    options = BuildOptions(Metric.L2, parse_bytes(_MEMORY), 0, None, None, 0, 1, True)
    build_index(open_vectors(vectors), path, None, options)
    _search(OpenedIndex.open(path, None, "auto", 1), vectors, has_all_ways)
    navigation = vectors.astype(np.uint8 if vectors.itemsize == 1 else np.float32)
    balanced_order(navigation, 1, 1, 0, 1, most_gathered=_NODE_ROWS)  # as only inputs of many rows are cut
    if has_all_ways:
        ids, _ = neighbour_lists(vectors.astype(np.float32), 0, 1)
        lists_both_ways(ids, 1, folder, Residency(_ROOM_BYTES))


def _search(index: OpenedIndex, vectors: npt.NDArray[Any], has_all_ways: bool) -> None:
    near = index.plan_call(vectors[:2], 10, Quality(effort=20), None, 0, None)
    try:
        index.search(near, True)
        index.search(replace(near, quality=Quality(exact=True)), True)
        index.get(np.arange(2))
        if has_all_ways:
            index.explain(replace(near, queries=near.queries[:1]), truth=True)
            index.doctor()
    finally:
        index.close()
