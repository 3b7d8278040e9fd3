"""PageANN for big-ann-benchmarks, track 2: vectors on disk, a budget of memory."""

from pathlib import Path
from typing import Any

import numpy as np
from benchmark.algorithms.base import BaseANN
from benchmark.datasets import DATASETS

import pageann

_METRICS = {"euclidean": "l2", "ip": "ip", "angular": "cosine"}
_BLOCK_ROWS = 100_000
_INDEX_NAME = "index.pageann"


class PageANN(BaseANN):  # type: ignore[misc]
    """``index_params``: memory, build_memory; query arguments: effort."""

    def __init__(self, metric: str, index_params: dict[str, Any]) -> None:
        if metric not in _METRICS:
            raise pageann.InvalidArgument(f"distance {metric!r}: PageANN has {', '.join(_METRICS)} here")
        self.name = "pageann"
        self._metric = _METRICS[metric]
        self._memory = index_params.get("memory", "30%")
        self._build_memory = index_params.get("build_memory")
        self._effort = 40
        self._index: pageann.Index | None = None
        self._stats: pageann.QueryStats | None = None

    def __str__(self) -> str:
        return self.name

    def track(self) -> str:
        """Disk."""
        return "T2"

    def _folder(self, dataset: str) -> Path:
        memory = str(self._memory).replace("%", "pc")
        return Path("data", "indices", "T2", self.name, DATASETS[dataset]().short_name(), f"memory-{memory}")

    def fit(self, dataset: str) -> None:
        """Build the index of a data set, block by block, and open it."""
        source, folder = DATASETS[dataset](), self._folder(dataset)
        folder.mkdir(parents=True, exist_ok=True)
        blocks = source.get_dataset_iterator(bs=_BLOCK_ROWS)
        pageann.build(
            iter(blocks),
            folder / _INDEX_NAME,
            rows=source.nb,
            dim=source.d,
            metric=self._metric,
            memory=self._memory,
            build_memory=self._build_memory,
        )
        self.load_index(dataset)

    def load_index(self, dataset: str) -> bool:
        """Open an index that was built before; False where there is none."""
        path = self._folder(dataset) / _INDEX_NAME
        try:
            self._index = pageann.open(path, memory=self._memory)
        except pageann.IndexNotFound:
            return False
        return True

    def index_files_to_store(self, dataset: str) -> list[Any]:
        """Folder, prefix and the files of the index below it."""
        folder = self._folder(dataset)
        files = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
        return [str(folder), "", files]

    def set_query_arguments(self, query_args: dict[str, Any]) -> None:
        """How many candidates a search keeps."""
        self._effort = int(query_args["effort"])

    def query(self, X: np.ndarray, k: int) -> None:
        """All queries in one call; row numbers wait in ``res``."""
        assert self._index is not None, "fit or load_index comes before query"
        found = self._index.search(X, k, effort=self._effort)
        self._stats, self.res = found.stats, found.ids

    def range_query(self, X: np.ndarray, radius: float) -> None:
        """Everything nearer than ``radius`` (squared, as in the data sets); the answer waits in ``res``."""
        assert self._index is not None, "fit or load_index comes before range_query"
        found = self._index.search(X, effort=self._effort, radius=radius)
        self._stats, self.res = found.stats, (found.lims, found.distances, found.ids)

    def get_additional(self) -> dict[str, float]:
        """Device reads, estimated distances and latency (us) of the last call."""
        if self._stats is None:
            return {}
        return {
            "mean_ssd_ios": float(np.mean(self._stats.reads)),
            "dist_comps": float(np.mean(self._stats.codes_scored)),
            "mean_latency": float(np.mean(self._stats.total_us)),
            "latency_999": float(np.percentile(self._stats.total_us, 99.9)),
        }

    def done(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
