"""PageANN for ann-benchmarks: one index on disk, under a memory budget."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pageann

from ..base.module import BaseANN

_METRICS = {"angular": "cosine", "euclidean": "l2"}


class PageANN(BaseANN):  # type: ignore[misc]
    """Built by ``fit`` for the budget of its run group; a query spends an effort."""

    def __init__(self, metric: str, method_param: dict[str, Any]) -> None:
        if metric not in _METRICS:
            raise pageann.InvalidArgument(f"distance {metric!r}: PageANN has {', '.join(_METRICS)} here")
        self._metric = _METRICS[metric]
        self._memory = method_param["memory"]
        self._effort = 40
        self._reads = 0.0
        self._queries = 0
        self._index: pageann.Index | None = None
        self.name = f"PageANN(memory={self._memory})"

    def fit(self, X: np.ndarray) -> None:
        """Build the index of ``X`` (n, dim) in a temporary folder, and open it."""
        self._folder = tempfile.TemporaryDirectory(prefix="pageann-")
        path = Path(self._folder.name) / "index.pageann"
        vectors = np.ascontiguousarray(X, dtype=np.float32)
        pageann.build(vectors, path, metric=self._metric, memory=self._memory)
        self._index = pageann.open(path, memory=self._memory)

    def set_query_arguments(self, effort: int) -> None:
        """How many candidates a search keeps."""
        self._effort = effort
        self._reads, self._queries = 0.0, 0
        self.name = f"PageANN(memory={self._memory}, effort={effort})"

    def query(self, q: np.ndarray, n: int) -> np.ndarray:
        """Row numbers of the n nearest, nearest first."""
        found = self._search(q, n)
        return found.ids[0, : found.counts[0]]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        """All queries in one call."""
        found = self._search(X, n)
        self.res = [ids[:count] for ids, count in zip(found.ids, found.counts, strict=True)]

    def _search(self, queries: np.ndarray, n: int) -> pageann.SearchResult:
        assert self._index is not None, "fit comes before query"
        found = self._index.search(np.asarray(queries, np.float32), n, effort=self._effort)
        assert found.stats is not None
        self._reads += float(found.stats.reads.sum())
        self._queries += len(found)
        return found

    def get_additional(self) -> dict[str, Any]:
        """Device reads of a query, and the bytes that the index holds in memory."""
        held = self._index.ledger.total if self._index is not None else 0
        return {"mean_page_reads": self._reads / max(1, self._queries), "resident_bytes": held}

    def done(self) -> None:
        """Close the index and remove it."""
        if self._index is not None:
            self._index.close()
            self._index = None
            self._folder.cleanup()
