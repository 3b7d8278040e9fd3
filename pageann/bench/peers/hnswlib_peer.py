"""hnswlib: the reference HNSW, in memory, float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting, float32_rows

__all__ = ["Hnswlib"]

_FILE = "index.hnsw"
_BLOCK_ROWS = 50_000


class Hnswlib(Peer):
    """A graph over all vectors, everything in memory."""

    package = "hnswlib"
    description = "HNSW in memory, float32"

    def load(self) -> None:
        """Import it."""
        import hnswlib

        self._hnswlib: Any = hnswlib

    def parameters(self) -> dict[str, Any]:
        """Links a vector, and breadth of the construction."""
        return {"M": 16, "ef_construction": 200}

    def _empty(self) -> Any:
        return self._hnswlib.Index(space=self.case.metric, dim=self.case.dim)

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Add all rows, on all threads."""
        index = self._empty()
        index.init_index(max_elements=self.case.rows, random_seed=100, **self.parameters())
        index.set_num_threads(self.case.threads)
        for first in range(0, self.case.rows, _BLOCK_ROWS):
            rows = float32_rows(base, first, _BLOCK_ROWS)
            index.add_items(rows, np.arange(first, first + len(rows)))
        index.save_index(str(folder / _FILE))

    def open(self, folder: Path) -> None:
        """Read everything."""
        self._index = self._empty()
        self._index.load_index(str(folder / _FILE))
        self._index.set_num_threads(1)

    def settings(self) -> Sequence[Setting]:
        """Breadth of the search."""
        return [{"ef": value} for value in (16, 32, 64, 128, 256)]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query on one thread."""
        self._index.set_ef(max(setting["ef"], k))
        ids, _ = self._index.knn_query(float32_rows(query[None], 0, 1), k=k)
        return np.asarray(ids[0], np.int64)
