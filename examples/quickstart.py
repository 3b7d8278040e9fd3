"""The main job from end to end, on data made here: ``make demo``, or ``python examples/quickstart.py``.

Makes 50,000 clustered vectors and 1,000 queries, builds an index that may hold 30 % of the vectors in
memory, and measures it. Every command is printed before it runs; the files stay in ``demo-data``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.types import Metric

DIM = 128
K = 10


def main() -> None:
    """Make the data, build, measure, show the memory and one answer."""
    arguments = _arguments()
    folder: Path = arguments.folder
    folder.mkdir(exist_ok=True)
    print(
        f"Making {arguments.rows:,} vectors of {DIM} x uint8 and {arguments.queries:,} queries in {folder}/",
        flush=True,
    )
    _make_data(folder, arguments.rows, arguments.queries)
    base, queries, index = folder / "base.npy", folder / "queries.npy", folder / "demo.pageann"
    _pageann("build", base, index, "--metric", "l2", "--memory", "30%")
    _pageann("bench", index, "--queries", queries, "--truth", folder / "truth.npy", "--recall", "0.9,0.95")
    _pageann("inspect", index)
    _pageann("search", index, "--queries", queries, "--k", 3, "--limit", 2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--folder", type=Path, default=Path("demo-data"), help="where files go (default: demo-data)"
    )
    parser.add_argument("--rows", type=int, default=50_000, help="vectors (default: 50000)")
    parser.add_argument("--queries", type=int, default=1_000, help="queries (default: 1000)")
    return parser.parse_args()


def _make_data(folder: Path, rows: int, queries: int) -> None:
    base, asked = clustered(rows, DIM, dtype="uint8", queries=queries, seed=1)
    ids, _ = exact_neighbours(base, asked, K, Metric.L2)
    for name, array in (("base", base), ("queries", asked), ("truth", ids)):
        np.save(folder / f"{name}.npy", array)


def _pageann(*arguments: object) -> None:
    words = [str(each) for each in arguments]
    print(f"\n$ pageann {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "pageann", *words])
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
