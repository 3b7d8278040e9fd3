"""What a query costs at a given recall: the figures that promises about reads are held against.

    python -m tests.reference.cost_at_recall INDEX QUERIES TRUTH.npy [--memory 10%] [--recall 0.95] [--k 10]

TRUTH holds ids of true neighbours, (queries, k or more). Efforts are halved in on until two neighbours of
different recall enclose the one asked for; every figure is interpolated linearly between them. All queries
are asked in one call, so many are in flight; CPU is that of the process over the queries. Prints JSON.

Beside it stands the floor: distinct pages of the true k, which a search that knew the answer would read.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.bench.inputs import BenchInputs
from pageann.bench.recall import true_distances
from pageann.datasets.source import open_vectors
from pageann.datasets.truth import recall_at_k
from pageann.storage.format import VECTOR_COUNT_OFFSET
from pageann.storage.pagefile import read_page_file_header

__all__ = ["Question", "cost_at_recall", "distinct_pages", "known_answers"]

_FIGURES = ("units", "reads", "kib", "hops", "codes_scored", "pinned_hits", "cpu_us")
_CLOSE_ENOUGH = 0.004
"""Recall between two efforts below which they are not brought nearer; promises ask for 0.02."""


@dataclass(frozen=True)
class Question:
    """What is asked, and the right answers."""

    queries: NDArray[Any]
    distances: NDArray[np.float64]
    """(queries, k), ascending: of the true neighbours."""
    recall: float


def cost_at_recall(index: pageann.Index, question: Question) -> dict[str, Any]:
    """Costs of a query of ``index`` at the recall asked for; ``efforts`` are those between them."""
    k = question.distances.shape[1]

    def measure(effort: int) -> dict[str, Any]:
        begin = time.process_time()
        found = index.search(question.queries, k, effort=effort)
        cpu_us = (time.process_time() - begin) / len(question.queries) * 1e6
        assert found.stats is not None
        recall = float(recall_at_k(found.distances, question.distances, k).mean())
        return {**found.stats.means(), "cpu_us": cpu_us, "recall": recall, "effort": effort}

    low, high = _enclosing(measure, question.recall, index.rows)
    span = high["recall"] - low["recall"]
    share = (question.recall - low["recall"]) / span if span > 0 else 1.0
    costs = {name: round(low[name] + share * (high[name] - low[name]), 2) for name in _FIGURES}
    return {
        **costs,
        "recall": question.recall if span > 0 else round(high["recall"], 4),
        "efforts": [low["effort"], high["effort"]],
        "recalls": [round(low["recall"], 4), round(high["recall"], 4)],
        "share_resident": round(index.ledger.total / (index.rows * index.dim * index.dtype.itemsize), 4),
    }


def _enclosing(measure: Any, wanted: float, most: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs of two efforts, the recall of the first below the wanted one and that of the second not.

    Twice the same where even the least effort finds more, or the greatest that memory has room for less.
    """
    measure(4)  # loads kernels and starts threads
    low = high = measure(4)
    while high["recall"] < wanted and high["effort"] < most:
        try:
            low, high = high, measure(min(most, 2 * high["effort"]))
        except pageann.InvalidArgument:
            return high, high
    while low["recall"] >= wanted and low["effort"] > 1:
        low, high = measure(low["effort"] // 2), low
    if not low["recall"] < wanted <= high["recall"]:
        return (high, high) if high["recall"] < wanted else (low, low)
    while high["effort"] - low["effort"] > 1 and high["recall"] - low["recall"] > _CLOSE_ENOUGH:
        middle = measure((low["effort"] + high["effort"]) // 2)
        if middle["recall"] >= wanted:
            high = middle
        else:
            low = middle
    return low, high


def distinct_pages(path: Path, truth: NDArray[Any], vectors: int) -> dict[str, float]:
    """Mean distinct pages of the rows of ``truth`` (queries, k) of so many, in each file of vectors.

    Each row counts on its own page: pages of copies are left out.
    """
    found = {}
    for file in (*path.glob("seg-*/pages.bin"), *path.glob("seg-*/vectors.bin")):
        layout, page_count = read_page_file_header(file)
        pages = np.memmap(file, np.uint8, "r").reshape(-1, layout.page_bytes)[1:]
        held = pages[:, layout.rows_offset : layout.rows_offset + layout.capacity * layout.row_bytes]
        counts = pages[:, VECTOR_COUNT_OFFSET : VECTOR_COUNT_OFFSET + 2].copy().view("<u2")
        own = np.cumsum(counts) <= vectors  # pages of copies follow
        held, counts = held[own], counts[own]
        rows = np.ascontiguousarray(held).view(f"<u{layout.row_bytes}").astype(np.int64)
        present = np.arange(layout.capacity) < counts
        page_of_row = np.empty(int(counts.sum()), np.int64)
        page_of_row[rows[present]] = np.nonzero(present)[0]
        homes = np.sort(page_of_row[truth], axis=1)
        found[file.name] = round(float((1 + (np.diff(homes, axis=1) != 0).sum(axis=1)).mean()), 3)
        assert len(pages) == page_count
        assert int(counts.sum()) == vectors
    return found


def known_answers(queries_path: str, truth_path: str, k: int, limit: int | None = None) -> BenchInputs:
    """The queries of a file, the first ``limit`` of them, and the ids of their ``k`` true neighbours."""
    queries = np.asarray(open_vectors(queries_path).mapped(None)[:limit])
    truth = np.load(truth_path)[: len(queries), :k].astype(np.int64)
    return BenchInputs(queries, truth, np.arange(len(queries)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("queries")
    parser.add_argument("truth")
    parser.add_argument("--memory", default=None)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--limit", type=int, default=None)
    arguments = parser.parse_args()
    inputs = known_answers(arguments.queries, arguments.truth, arguments.k, arguments.limit)
    with pageann.open(arguments.index, memory=arguments.memory) as index:
        distances = true_distances(index, inputs, arguments.truth)
        rows = index.rows
        costs = cost_at_recall(index, Question(inputs.queries, distances, arguments.recall))
    print(json.dumps({**costs, "distinct_pages": distinct_pages(arguments.index, inputs.truth, rows)}))


if __name__ == "__main__":
    main()
