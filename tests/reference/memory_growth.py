"""How much private memory an open index takes beyond a small one: the measure of the memory promise.

    python -m tests.reference.memory_growth SMALL INDEX BUDGET QUERIES [--wait]

SMALL is an index of some 1,000 rows of the same type and metric, QUERIES a file of vectors. Prints JSON: the
memory, and what the searches gave (a digest of the answers, mean reads, queries a second), which must not
depend on limits. Where the budget is refused, ``refused`` is the least that works. With --wait it says
``ready`` after the baseline and goes on once it is sent a line: the moment to put a limit on it.

Private memory is what ``smaps_rollup`` calls anonymous: pages of libraries, which come and go with other
processes, are not in it. The most of several moments counts: after each kind of search, its results held.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.datasets.source import open_vectors

READY = "ready"
_ROUNDS = 3
_QUERIES = 1000


def anonymous_bytes() -> int:
    """Anonymous memory of this process, in RAM."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("smaps_rollup has no line Anonymous")


def _searches(index: pageann.Index, queries: NDArray[Any]) -> Iterator[pageann.SearchResult]:
    """Calls of every size; large ones first, so that each kind of buffer was used before the last."""
    for _ in range(_ROUNDS):
        for effort in (20, 40):
            yield index.search(queries, 10, effort=effort)
        singles = [index.search(query, 10, effort=30) for query in queries[:50]]
        yield singles[-1]
    yield index.search(queries, 10, recall=0.99)
    yield index.search(queries[:100], 100, recall=0.95)
    yield index.search(queries, 10, effort=40)


def _work(index: pageann.Index, queries: NDArray[Any]) -> dict[str, Any]:
    """Search, and tell of the last answer and the most memory of any moment."""
    most = 0
    found: pageann.SearchResult | None = None
    for result in _searches(index, queries):
        found = result
        gc.collect()
        most = max(most, anonymous_bytes())
    begin = time.perf_counter()
    index.search(queries, 10, effort=40)
    seconds = time.perf_counter() - begin
    assert found is not None
    assert found.stats is not None
    return {
        "most_bytes": most,
        "answers": zlib.crc32(found.distances.tobytes(), zlib.crc32(repr(found.ids.tolist()).encode())),
        "reads": round(float(found.stats.reads.mean()), 4),
        "qps": round(len(queries) / seconds, 1),
    }


def measure(small: str, path: str, budget: str, queries_path: str, wait: bool) -> dict[str, Any]:
    """Search the small index, take the baseline, then open and search the other."""
    queries = np.array(open_vectors(queries_path).mapped(None)[:_QUERIES])
    with pageann.open(small, memory="64MiB") as index:
        _work(index, queries)
    gc.collect()
    before = anonymous_bytes()
    if wait:
        print(READY, flush=True)
        sys.stdin.readline()
    try:
        opened = pageann.open(path, memory=budget)
    except pageann.BudgetTooSmall as error:
        return {"refused": error.required_bytes}
    with opened as index:
        done = _work(index, queries)
        ledger = index.ledger
        return {
            "baseline_bytes": before,
            "growth_bytes": done.pop("most_bytes") - before,
            "budget_bytes": ledger.budget_bytes,
            "ledger_bytes": ledger.total,
            "code_bytes": index.describe()["resident"]["code_bytes"],
            **done,
            "imported": [name for name in ("faiss", "sklearn") if name in sys.modules],
        }


if __name__ == "__main__":
    waits = "--wait" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--wait"]
    print(json.dumps(measure(*arguments[:4], wait=waits)))
