"""What the neighbour lists of the builder are worth beside those of a Vamana graph, where links matter.

    python -m tests.reference.vamana_links BASE LEARN FOLDER [ROWS]

Builds the first ROWS (default 100,000) vectors of BASE twice for 1 % of memory: with the builder's own
lists, and with the same packing and codes but links and representatives merged from a Vamana graph
(R 32, L 100, alpha 1.2). Prints the read units of both at recall@10 0.95, on queries of LEARN.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.datasets.source import open_vectors
from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.index.builder import segment
from pageann.index.builder.layout import plan_shape
from pageann.storage.checksum import crc32c
from pageann.types import ByteSize, Metric
from tests.reference.vamana import vamana_graph

_ROWS = 100_000
_QUERIES = 2000
_K = 10
_MEMORY = ByteSize(200 << 10, 0.0)
"""What one query takes in flight does not fit 1 % of so few vectors; the layout is that of 1 %."""
_LAYOUT_SHARE = 0.01
_RECALL = 0.95
_EFFORTS = (20, 28, 40, 56, 80, 112, 160, 224, 320)


def main(base_path: str, learn_path: str, folder: str, rows: str = str(_ROWS)) -> None:
    """Print the units of both indexes and their ratio."""
    base = np.ascontiguousarray(open_vectors(base_path).mapped(None)[: int(rows)])
    queries = np.asarray(open_vectors(learn_path).mapped(None)[:_QUERIES], np.float32)
    _, truth = exact_neighbours(base, queries, _K, Metric.L2)
    facts = len(base), base.shape[1], base.dtype, Metric.L2
    layouts = {plan_shape(*facts, size, None) for size in (int(_LAYOUT_SHARE * base.nbytes), _MEMORY.bytes)}
    assert len(layouts) == 1, "both indexes have the layout of 1 %"
    graph = _graph(base, Path(folder))
    own = _units(base, Path(folder) / "own.pageann", queries, truth)
    with _links_from(graph):
        other = _units(base, Path(folder) / "vamana.pageann", queries, truth)
    print(f"read units at recall@{_K} {_RECALL}, laid out for 1 %: own {own:.2f}, Vamana {other:.2f}")
    print(f"own / Vamana {own / other:.3f}")


def _graph(base: NDArray[Any], folder: Path) -> NDArray[np.int32]:
    """The graph of ``base``, kept in ``folder``, since it takes minutes."""
    path = folder / f"vamana-{len(base)}-{crc32c(base):08x}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        np.save(path, vamana_graph(base))
        print(f"Vamana graph: {time.monotonic() - begin:.0f} s", flush=True)
    graph: NDArray[np.int32] = np.load(path)
    print(f"Vamana graph: {(graph >= 0).sum(axis=1).mean():.1f} neighbours a vector")
    return graph


def _units(base: NDArray[Any], path: Path, queries: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean read units of a query at the recall, between the efforts around it."""
    report = pageann.build(base, path, memory=_MEMORY.bytes)
    print(f"{path.name}: {report.page_count:,} pages of {report.capacity} vectors, {report.seconds:.1f} s")
    before = (0.0, 0.0)
    with pageann.open(path) as index:
        for effort in _EFFORTS:
            found = index.search(queries, _K, effort=effort)
            assert found.stats is not None
            recall = float(recall_at_k(found.distances, truth, _K).mean())
            units = float(found.stats.units.mean())
            print(f"  effort {effort}: recall {recall:.4f}, units {units:.2f}")
            if recall >= _RECALL:
                share = (_RECALL - before[0]) / (recall - before[0])
                return before[1] + share * (units - before[1])
            before = recall, units
    raise SystemExit(f"{path}: no effort reaches recall {_RECALL}")


def _links_from(graph: NDArray[np.int32]) -> Any:
    """Within, pages are linked by ``graph``, whose rows are those of the input."""
    places = np.empty(len(graph), np.int32)
    ordered = np.empty_like(graph)
    copy_by_locality = segment.copy_by_locality

    class VamanaMerger(segment.LinkMerger):
        def __init__(self, neighbours: Any, *rest: Any, **options: Any) -> None:
            assert len(neighbours) == len(ordered)
            super().__init__(ordered, *rest, **options)

    def copied(*arguments: Any) -> Any:
        copy = copy_by_locality(*arguments)
        places[copy.rows] = np.arange(len(graph), dtype=np.int32)
        listed = graph[copy.rows]
        ordered[:] = np.where(listed >= 0, places[listed], -1)
        return copy

    return mock.patch.multiple(segment, LinkMerger=VamanaMerger, copy_by_locality=copied)


if __name__ == "__main__":
    main(*sys.argv[1:])
