"""How the cost of a query grows with the number of vectors.

    python -m tests.reference.growth BASE QUERIES WORKDIR [--rows 125000,250000,500000] [--memory 30%]
        [--recall 0.95] [--threads 2]

Builds an index of the first rows of BASE, for each number given and for all, with the true neighbours
computed for each; measures units, reads and CPU at the recall; then fits cost = a n^b, where a b of 0.5 is
sqrt n. Beside it stands what log n and sqrt n foretell for the largest set from the smallest. Indexes and
truth are kept in WORKDIR and taken up again. Prints a table, and JSON on the last line.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import pageann
from pageann.datasets.source import open_vectors
from pageann.datasets.truth import exact_neighbours
from tests.reference.cost_at_recall import Question, cost_at_recall, distinct_pages

_K = 10


def measured(
    base: Any, queries: Any, folder: Path, memory: str, recall: float, threads: int
) -> dict[str, Any]:
    """Build (once) and measure an index of all of ``base``."""
    rows = len(base)
    index_path, truth_path = folder / f"{rows}.pageann", folder / f"truth-{rows}-{len(queries)}.npz"
    if not truth_path.exists():
        ids, distances = exact_neighbours(base, queries, _K, pageann.Metric.L2, threads=threads)
        np.savez(truth_path, ids=ids, distances=distances)
    if not (index_path / "CURRENT").exists():
        pageann.build(base, index_path, memory=memory, threads=threads)
    truth = np.load(truth_path)
    with pageann.open(index_path, memory=memory) as index:
        found = cost_at_recall(index, Question(queries, truth["distances"], recall))
    return {"rows": rows, **found, "distinct": distinct_pages(index_path, truth["ids"], rows)["pages.bin"]}


def fitted_exponent(runs: list[dict[str, Any]], figure: str) -> float:
    """b of a n^b, by least squares of logarithms."""
    rows = np.log([run["rows"] for run in runs])
    return float(np.polyfit(rows, np.log([run[figure] for run in runs]), 1)[0])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("queries")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--rows", default="125000,250000,500000")
    parser.add_argument("--memory", default="30%")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    base = open_vectors(arguments.base).mapped(None)
    queries = np.array(open_vectors(arguments.queries).mapped(None))
    sizes = [int(rows) for rows in arguments.rows.split(",") if rows and int(rows) < len(base)]
    threads = arguments.threads or len(os.sched_getaffinity(0))
    runs = []
    print(f"{'rows':>9} {'units':>7} {'reads':>7} {'floor':>6} {'cpu us':>8} {'codes':>8} {'hops':>5}")
    for size in [*sizes, len(base)]:
        run = measured(base[:size], queries, arguments.workdir, arguments.memory, arguments.recall, threads)
        runs.append(run)
        print(
            f"{size:>9} {run['units']:>7.2f} {run['reads']:>7.2f} {run['distinct']:>6.2f} "
            f"{run['cpu_us']:>8.1f} {run['codes_scored']:>8.0f} {run['hops']:>5.2f}",
            flush=True,
        )
    first, last = runs[0], runs[-1]
    by_log = np.log(last["rows"]) / np.log(first["rows"])
    by_root = (last["rows"] / first["rows"]) ** 0.5
    for figure in ("units", "cpu_us"):
        grew = last[figure] / first[figure]
        print(
            f"{figure}: x{grew:.2f} from {first['rows']} to {last['rows']} rows, n^"
            f"{fitted_exponent(runs, figure):.3f}; log n would give x{by_log:.2f}, sqrt n x{by_root:.2f}"
        )
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
