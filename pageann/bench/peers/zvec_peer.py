"""zvec: DiskANN on disk, float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting, float32_rows

__all__ = ["Zvec"]

_BLOCK_ROWS = 1000
_FIELD = "vector"
_NAMES = {"l2": "L2", "ip": "IP", "cosine": "COSINE"}


class Zvec(Peer):
    """A Vamana graph on disk, walked by product codes in memory."""

    package = "zvec"
    description = "DiskANN on disk, float32"
    refusals = {"ip": "its DiskANN index finds a third of the true neighbours at best under ip (zvec 0.8)"}

    def load(self) -> None:
        """Import it, quietly."""
        import zvec

        self._zvec: Any = zvec
        zvec.init(log_level=zvec.LogLevel.ERROR)

    def parameters(self) -> dict[str, Any]:
        """Links a vector, breadth of the construction, parts of a code (0: its own choice)."""
        return {"max_degree": 64, "list_size": 100, "pq_chunk_num": 0}

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Insert all rows, then build the graph."""
        zvec = self._zvec
        metric = getattr(zvec.MetricType, _NAMES[self.case.metric])
        vector = zvec.VectorSchema(
            _FIELD,
            zvec.DataType.VECTOR_FP32,
            dimension=self.case.dim,
            index_param=zvec.DiskAnnIndexParam(metric_type=metric, **self.parameters()),
        )
        schema = zvec.CollectionSchema(name="vectors", vectors=[vector])
        collection = zvec.create_and_open(path=str(folder / "collection"), schema=schema)
        for first in range(0, self.case.rows, _BLOCK_ROWS):
            rows = float32_rows(base, first, _BLOCK_ROWS)
            collection.insert(
                [zvec.Doc(id=str(first + n), vectors={_FIELD: row.tolist()}) for n, row in enumerate(rows)]
            )
        collection.optimize(option=zvec.OptimizeOption(concurrency=self.case.threads))
        collection.flush()

    def open(self, folder: Path) -> None:
        """Open it for reading."""
        zvec = self._zvec
        option = zvec.CollectionOption(read_only=True, enable_mmap=True)
        self._collection = zvec.open(str(folder / "collection"), option)

    def settings(self) -> Sequence[Setting]:
        """Breadth of the search."""
        return [{"list_size": value} for value in (20, 40, 80, 160, 320)]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query."""
        zvec = self._zvec
        asked = zvec.Query(
            field_name=_FIELD,
            vector=float32_rows(query[None], 0, 1)[0].tolist(),
            param=zvec.DiskAnnQueryParam(list_size=max(setting["list_size"], k)),
        )
        found = self._collection.query(asked, topk=k, output_fields=[])
        return np.array([int(each.id) for each in found], np.int64)
