"""How much private memory an open index takes beyond a small one: the measure of the memory promise.

    python -m tests.reference.memory_growth SMALL INDEX BUDGET QUERIES

SMALL is an index of some 1,000 rows of the same type and metric, QUERIES a file of vectors. Prints JSON.
Private memory is what ``smaps_rollup`` calls anonymous: pages of libraries, which come and go with other
processes, are not in it.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import numpy as np

import pageann
from pageann.datasets.source import open_vectors

_ROUNDS = 3


def anonymous_bytes() -> int:
    """Anonymous memory of this process, in RAM."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("smaps_rollup has no line Anonymous")


def _search(index: pageann.Index, queries: np.ndarray) -> None:
    for _ in range(_ROUNDS):
        for effort in (20, 40):
            index.search(queries, 10, effort=effort)
        for query in queries[:50]:
            index.search(query, 10, effort=30)


def main(small: str, path: str, budget: str, queries_path: str) -> None:
    """Search the small index, take the baseline, then open and search the other."""
    queries = np.asarray(open_vectors(queries_path).mapped(None)[:1000])
    with pageann.open(small, memory="64MiB") as index:
        _search(index, queries)
    gc.collect()
    before = anonymous_bytes()
    with pageann.open(path, memory=budget) as index:
        _search(index, queries)
        gc.collect()
        growth = anonymous_bytes() - before
        ledger = index.ledger
        facts = {
            "baseline_bytes": before,
            "growth_bytes": growth,
            "budget_bytes": ledger.budget_bytes,
            "ledger_bytes": ledger.total,
            "code_bytes": index.describe()["resident"]["code_bytes"],
        }
    modules = [name for name in ("faiss", "sklearn") if name in sys.modules]
    print(json.dumps({**facts, "imported": modules}))


if __name__ == "__main__":
    main(*sys.argv[1:5])
