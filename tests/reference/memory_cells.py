"""Hold the memory promise against a grid of sizes, dimensions, element types and budgets.

    python -m tests.reference.memory_cells WORKDIR [--only TEXT] [--capped]

A cell is an index of one set, built for one share of its vectors, and opened with another in a process of its
own, which searches it in every way. The cell is kept where the ledger is within the budget and private memory
grew by no more than the budget and 2 MiB; where the budget is refused, the least that was named is opened
instead. With --capped each cell runs once more under a memory cgroup, for which one must be root: it allows
the budget and 2 MiB beyond the baseline, and what the cell does there must be the same. Prints a table and
the number of cells; ends with 1 where a promise was broken. Indexes are kept in WORKDIR and taken up again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pageann
from pageann.bench.peers.cap import Hierarchy, capped, find_hierarchy
from pageann.datasets.synthetic import clustered
from tests.reference.memory_growth import READY

NOISE_BYTES = 2 << 20
_ROOT = Path(__file__).parents[2]
_SMALL_ROWS = 1000
_QUERIES = 1000
_LEAST_BYTES = 1 << 20
"""Of a budget of less than 1 %, to be a cell."""


@dataclass(frozen=True)
class Vectors:
    """A set of the grid, and the shares that indexes of it are built for."""

    rows: int
    dim: int
    dtype: str
    metric: str = "l2"
    built_for: tuple[str, ...] = ("30%",)
    ids: bool = False
    disk: str | None = None
    codes: str = "auto"

    @property
    def raw_bytes(self) -> int:
        """Bytes of the vectors."""
        return self.rows * self.dim * np.dtype(self.dtype).itemsize

    @property
    def name(self) -> str:
        """For people and folders."""
        suffixes = "-ids" * self.ids + "-copies" * (self.disk is not None)
        suffixes += f"-{self.codes}" * (self.codes != "auto")
        return f"{self.rows}x{self.dim}-{self.dtype}-{self.metric}{suffixes}"


GRID = (
    Vectors(60_000, 64, "uint8", built_for=("1%", "10%", "30%")),
    Vectors(200_000, 16, "uint8", built_for=("30%",), ids=True),
    Vectors(40_000, 128, "float32", built_for=("3%", "30%")),
    Vectors(20_000, 100, "int8", "ip"),
    Vectors(20_000, 200, "float16", "l2", built_for=("10%",)),
    Vectors(20_000, 384, "float32", "cosine", built_for=("10%",)),
    Vectors(10_000, 768, "float32", "l2", built_for=("1%", "10%"), ids=True),
    Vectors(3000, 1536, "float32", "cosine"),
    Vectors(1200, 4096, "float16", "ip", built_for=("100%",)),
    Vectors(5000, 3, "float32", "l2", built_for=("200%",)),
    Vectors(100_000, 64, "uint8", built_for=("30%", "60%"), disk="3x"),
    Vectors(30_000, 96, "float32", built_for=("30%",), codes="pq8"),
    Vectors(30_000, 96, "float32", built_for=("30%",), codes="rabitq"),
    Vectors(30_000, 96, "float32", built_for=("60%",), codes="sq8"),
)
SHARES = ("0.1%", "1%", "3%", "10%", "30%", "60%", "100%", "200%")


def build_once(vectors: Vectors, rows: int, share: str, folder: Path) -> Path:
    """An index of the first ``rows``, made unless it is there; queries lie beside it."""
    path = folder / f"{vectors.name}-{rows}-{share.rstrip('%')}.pageann"
    queries = folder / f"{vectors.name}-queries.npy"
    if not (path / "CURRENT").exists() or not queries.exists():
        base, asked = clustered(vectors.rows, vectors.dim, dtype=vectors.dtype, queries=_QUERIES, seed=5)
        ids = [f"row {number:06d}" for number in range(rows)] if vectors.ids else None
        least = 4 << 20 if rows == _SMALL_ROWS else 0
        memory = max(least, int(float(share.rstrip("%")) / 100 * rows * vectors.raw_bytes / vectors.rows))
        np.save(queries, asked)
        options: dict[str, Any] = {"metric": vectors.metric, "ids": ids, "codes": vectors.codes}
        if rows == vectors.rows:
            options["disk"] = vectors.disk
        try:
            pageann.build(base[:rows], path, memory=memory, **options)
        except pageann.BudgetTooSmall as error:
            pageann.build(base[:rows], path, memory=error.required_bytes, **options)
    return path


def run_cell(
    small: Path, path: Path, budget: str, queries: Path, hierarchy: Hierarchy | None = None, limit: int = 0
) -> dict[str, Any]:
    """What a process found that opened ``path`` within ``budget``, under a limit where there is one."""
    command = [sys.executable, "-m", "tests.reference.memory_growth"]
    arguments = [str(small), str(path), budget, str(queries)]
    if hierarchy is None:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=_ROOT)
        return _facts(done.returncode, done.stdout, done.stderr)
    with capped(hierarchy, limit, f"pageann-cell-{os.getpid()}") as cap:
        child = subprocess.Popen(
            [*command, *arguments, "--wait"], cwd=_ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        first = child.stdout.readline()
        if first.strip() == READY:
            cap.hold(child.pid)
        out, errors = child.communicate("\n")
        return _facts(child.returncode, out, errors)


def _facts(code: int, out: str, errors: str) -> dict[str, Any]:
    if code != 0:
        return {"failed": f"ended with {code}: {(errors.strip().splitlines() or [''])[-1]}"}
    found: dict[str, Any] = json.loads(out)
    return found


def broken_promises(facts: dict[str, Any]) -> list[str]:
    """What a cell did that it must not."""
    if "failed" in facts:
        return [facts["failed"]]
    if "refused" in facts:
        return [f"refused again, with {facts['refused']} bytes as the least"]
    found = []
    if facts["ledger_bytes"] > facts["budget_bytes"]:
        found.append("the ledger exceeds the budget")
    if facts["growth_bytes"] > facts["budget_bytes"] + NOISE_BYTES:
        over = (facts["growth_bytes"] - facts["budget_bytes"]) / 2**20
        found.append(f"memory grew by {over:.1f} MiB more than the budget")
    if facts["imported"]:
        found.append(f"imported {facts['imported']}")
    return found


def one_cell(
    vectors: Vectors, share_built: str, budget: int, folder: Path, hierarchy: Hierarchy | None
) -> tuple[dict[str, Any], list[str]]:
    """(figures, broken promises) of one cell."""
    small = build_once(vectors, min(_SMALL_ROWS, vectors.rows), "100%", folder)
    path = build_once(vectors, vectors.rows, share_built, folder)
    queries = folder / f"{vectors.name}-queries.npy"
    facts = run_cell(small, path, str(budget), queries)
    asked_less = "refused" in facts
    if asked_less:
        facts = run_cell(small, path, str(facts["refused"]), queries)
    broken = broken_promises(facts)
    if hierarchy is not None and not broken:
        limit = facts["budget_bytes"] + NOISE_BYTES
        inside = run_cell(small, path, str(facts["budget_bytes"]), queries, hierarchy, limit)
        broken += [f"capped: {what}" for what in broken_promises(inside)]
        if "qps" in inside:
            facts["capped_qps"] = inside["qps"]
            if (inside["answers"], inside["reads"]) != (facts["answers"], facts["reads"]):
                broken.append("capped: other answers or reads")
    return {**facts, "least": asked_less}, broken


def cells(only: str) -> list[tuple[Vectors, str, str, int]]:
    """(set, built for, opened with, budget) of each cell whose name has ``only`` in it."""
    found = []
    for vectors in GRID:
        for built in vectors.built_for:
            for share in SHARES:
                budget = max(1, int(float(share.rstrip("%")) / 100 * vectors.raw_bytes))
                if float(share.rstrip("%")) < 1 and budget < _LEAST_BYTES:
                    continue
                if only in f"{vectors.name} {built} {share}":
                    found.append((vectors, built, share, budget))
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--capped", action="store_true")
    arguments = parser.parse_args()
    hierarchy = find_hierarchy() if arguments.capped else None
    if arguments.capped and hierarchy is None:
        print("no memory cgroup can be made here", file=sys.stderr)
        return 2
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    chosen = cells(arguments.only)
    bad = 0
    print(f"{'set':<32} {'built':>5} {'open':>5} {'budget':>9} {'ledger':>9} {'growth':>9} {'codes':>5}")
    for vectors, built, share, budget in chosen:
        facts, broken = one_cell(vectors, built, budget, arguments.workdir, hierarchy)
        bad += bool(broken)
        sizes = [
            f"{facts.get(name, 0) / 1024:9.0f}" for name in ("budget_bytes", "ledger_bytes", "growth_bytes")
        ]
        notes = [*(["least that works"] if facts["least"] else []), *broken]
        if "capped_qps" in facts:
            notes.append(f"qps {facts['qps']:.0f}, capped {facts['capped_qps']:.0f}")
        print(
            f"{vectors.name:<32} {built:>5} {share:>5} {' '.join(sizes)} {facts.get('code_bytes', 0):>5}  "
            f"{'; '.join(notes)}",
            flush=True,
        )
    print(f"{len(chosen)} cells, {bad} broken (KiB)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
