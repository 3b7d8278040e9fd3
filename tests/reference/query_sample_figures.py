"""What building for a sample of out-of-distribution queries saves.

    python -m tests.reference.query_sample_figures FOLDER [ROWS] [DIM] [OFFSET] [METRIC] [MEMORY ...]

Clustered vectors, and queries that are moved by one vector of OFFSET mean norms. Each is built twice,
with half of the queries as the sample and without; printed are the recall that a search for 0.95 gets on
the other half, and read units at recall@10 0.95.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.types import Metric

_K = 10
_RECALL = 0.95
_QUERIES = 2000
_EFFORTS = (6, 8, 10, 13, 17, 23, 31, 42, 56, 76, 103, 139, 187, 253, 341, 460, 600)


def main(
    folder: str,
    rows: str = "100000",
    dim: str = "64",
    offset: str = "0.7",
    metric: str = "l2",
    *memories: str,
) -> None:
    """Print the figures for each memory (default: 30 % and 2 %)."""
    base, queries = clustered(int(rows), int(dim), queries=_QUERIES, seed=5, query_offset=float(offset))
    sample, asked = queries[::2], queries[1::2]
    _, truth = exact_neighbours(base, asked, _K, Metric.parse(metric))
    for memory in memories or ("30%", "2%"):
        units = {}
        for name, given in (("vectors", None), ("sample", sample)):
            path = Path(folder) / f"{name}.pageann"
            pageann.build(base, path, metric=metric, memory=memory, queries_sample=given)
            units[name] = _figures(path, asked, truth, f"{memory}, built for {name}")
        print(f"{memory}: units {units['vectors']:.2f} -> {units['sample']:.2f}", flush=True)


def _figures(path: Path, queries: NDArray[Any], truth: NDArray[Any], title: str) -> float:
    """Print what a search by recall gets; units at the recall itself."""
    with pageann.open(path) as index:
        found = index.search(queries, _K, recall=_RECALL)
        assert found.stats is not None
        recall = float(recall_at_k(found.distances, truth, _K).mean())
        print(f"{title}: asked {_RECALL}, got {recall:.4f} with {found.stats.units.mean():.2f} units")
        before = (0.0, 0.0)
        for effort in _EFFORTS:
            found = index.search(queries, _K, effort=effort)
            assert found.stats is not None
            recall = float(recall_at_k(found.distances, truth, _K).mean())
            units = float(found.stats.units.mean())
            if recall >= _RECALL:
                share = (_RECALL - before[0]) / (recall - before[0])
                return before[1] + share * (units - before[1])
            before = recall, units
    return float("nan")


if __name__ == "__main__":
    main(*sys.argv[1:])
