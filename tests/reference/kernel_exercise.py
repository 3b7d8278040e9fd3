"""A program that runs the kernels of building and searching, and prints what came out.

Run as ``python -m tests.reference.kernel_exercise FOLDER DTYPE METRIC ...``; prints one line of JSON:
checksums of files and answers, and what the kernel cache did.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

import pageann.index.kernels
import pageann.storage
from pageann.datasets.synthetic import clustered
from pageann.index.kernels import scan, state
from pageann.index.search.engine import CallOptions, Engine
from pageann.index.search.workspace import WorkspaceSize
from pageann.types import Metric
from tests.reference.small_segment import build_small, small_shape

COUNTED = [state.N_READS, state.N_HOPS, state.N_CODES, state.N_STOP]


def digest(*parts: bytes) -> str:
    """Short hash of ``parts``."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def exercise(folder: Path, dtype: str, metric: Metric) -> dict[str, str]:
    """Build a segment, search it by both regimes, and hash everything."""
    vectors, queries = clustered(1200, 10, dtype=dtype, queries=8, seed=1, clusters=9)
    shape = small_shape(10, code_bytes=(3,), rep_bytes=4, rep_capacity=37, link_capacity=9)
    small = build_small(folder / f"{dtype}-{metric.label}", vectors, metric, shape)
    found = {path.name: digest(path.read_bytes()) for path in sorted(small.folder.iterdir())}
    options = CallOptions(WorkspaceSize(10, 50, 60, 16, 4), 4, 4, 0, 10**6, 0, np.dtype(dtype).kind in "iu")
    for code_bytes in (3, 0):
        segment = small.load(code_bytes)
        engine = Engine(segment, "threads", workers=1, slots=2)
        answers = engine.run(queries.astype(np.float32), options)
        engine.close()
        segment.close()
        counters = answers.counters[:, COUNTED]
        found[f"answers-{code_bytes}"] = digest(
            answers.rows.tobytes(), answers.distances.tobytes(), counters.tobytes()
        )
    return found


def dispatchers() -> Iterator[Any]:
    """Every kernel of the packages that hold kernels, once."""
    seen: set[int] = set()
    for package in (pageann.index.kernels, pageann.storage):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name in sys.modules:
                for value in vars(import_module(module.name)).values():
                    if isinstance(value, Dispatcher) and id(value) not in seen:
                        seen.add(id(value))
                        yield value


def main(arguments: list[str]) -> None:
    """Exercise each pair of element type and metric."""
    folder = Path(arguments[0])
    results = {}
    for dtype, metric in zip(arguments[1::2], arguments[2::2], strict=True):
        results[f"{dtype}-{metric}"] = exercise(folder, dtype, Metric.parse(metric))
    stats = [kernel.stats for kernel in dispatchers()]
    print(
        json.dumps(
            {
                "results": results,
                "shuffles": scan.USES_SHUFFLES,
                "hits": sum(sum(stat.cache_hits.values()) for stat in stats),
                "misses": sum(sum(stat.cache_misses.values()) for stat in stats),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
