"""What ``recall=`` gives where the truth is known: achieved recall, and what the choice of effort cost.

    python -m tests.reference.recall_asked INDEX QUERIES TRUTH.npy [--memory 10%] [--recalls 0.90,0.95,0.99]
        [--learn FILE --copy FOLDER [--tune 1000]]

Beside the recall and the read units of each search stand those of the least effort that suffices, and the
ratio (null where the memory has no room for such an effort). With --learn all is asked once more of a copy of
the index that was tuned to the first queries of that file. Prints a line of JSON for each recall.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.bench.recall import true_distances
from pageann.datasets.source import open_vectors
from pageann.datasets.truth import recall_at_k
from tests.reference.cost_at_recall import known_answers

_K = 10


class Asked:
    """An open index and questions whose answers are known; each effort is tried once."""

    def __init__(self, index: pageann.Index, queries: NDArray[Any], distances: NDArray[np.float64]) -> None:
        self._index = index
        self._queries = queries
        self._distances = distances
        self._tried: dict[int, tuple[float, float]] = {}

    def by_recall(self, recall: float) -> tuple[float, float, int]:
        """(recall, units, effort) of what the index chooses."""
        found = self._index.search(self._queries, _K, recall=recall)
        assert found.stats is not None
        return (*self._costs(found), int(found.stats.effort[0]))

    def by_effort(self, effort: int) -> tuple[float, float]:
        """(recall, units)."""
        if effort not in self._tried:
            self._tried[effort] = self._costs(self._index.search(self._queries, _K, effort=effort))
        return self._tried[effort]

    def _costs(self, found: pageann.SearchResult) -> tuple[float, float]:
        assert found.stats is not None
        recall = float(recall_at_k(found.distances, self._distances, _K).mean())
        return recall, float(found.stats.units.mean())

    def least_effort(self, recall: float, near: int) -> int | None:
        """The least effort that gives ``recall``, sought from ``near`` on; None: memory has no room."""
        low, high = 0, near
        try:
            while self.by_effort(high)[0] < recall:
                low, high = high, high + max(1, high // 4)
        except pageann.InvalidArgument:
            return None
        if low == 0:
            low = high - max(1, high // 4)
            while low > 0 and self.by_effort(low)[0] >= recall:
                low, high = low - max(1, low // 4), low
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.by_effort(middle)[0] >= recall else (middle, high)
        return high


def asked_for(asked: Asked, recalls: list[float], kind: str) -> Iterator[dict[str, Any]]:
    """A line for each recall."""
    for wanted in recalls:
        recall, units, effort = asked.by_recall(wanted)
        least = asked.least_effort(wanted, effort)
        needed = None if least is None else asked.by_effort(least)[1]
        yield {
            "curves": kind, "asked": wanted, "recall": round(recall, 4), "units": round(units, 2),
            "effort": effort, "least_effort": least,
            "least_units": None if needed is None else round(needed, 2),
            "ratio": round(units / needed, 3) if needed else None,
        }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("queries")
    parser.add_argument("truth")
    parser.add_argument("--memory", default=None)
    parser.add_argument("--recalls", default="0.90,0.95,0.99")
    parser.add_argument("--learn", default=None)
    parser.add_argument("--copy", type=Path, default=None)
    parser.add_argument("--tune", type=int, default=1000)
    arguments = parser.parse_args()
    recalls = [float(text) for text in arguments.recalls.split(",")]
    inputs = known_answers(arguments.queries, arguments.truth, _K)

    def ask(path: Path, kind: str) -> None:
        with pageann.open(path, memory=arguments.memory) as index:
            distances = true_distances(index, inputs, arguments.truth)
            for line in asked_for(Asked(index, inputs.queries, distances), recalls, kind):
                print(json.dumps({"index": path.name, **line}), flush=True)

    ask(arguments.index, "as built")
    if arguments.learn:
        if arguments.copy is None:
            parser.error("--learn tunes a copy of the index: say where to put it with --copy")
        shutil.copytree(arguments.index, arguments.copy)
        pageann.tune(arguments.copy, np.array(open_vectors(arguments.learn).mapped(None)[: arguments.tune]))
        ask(arguments.copy, "tuned")


if __name__ == "__main__":
    main()
