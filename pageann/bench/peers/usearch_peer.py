"""usearch: HNSW whose file is mapped, not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting, float32_rows

__all__ = ["Usearch"]

_FILE = "index.usearch"
_BLOCK_ROWS = 50_000
_NAMES = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}
_MIDDLE = 128


class Usearch(Peer):
    """A graph over all vectors in a mapped file."""

    package = "usearch"
    description = "HNSW, file mapped (view)"

    def load(self) -> None:
        """Import it."""
        from usearch.index import Index

        self._kind: Any = Index

    def parameters(self) -> dict[str, Any]:
        """Links a vector, breadth of the construction, element type."""
        return {"connectivity": 16, "expansion_add": 128, "dtype": "i8" if self._shifted else "f32"}

    @property
    def _shifted(self) -> bool:
        """Bytes become signed by a shift, which no squared distance notices."""
        return self.case.dtype == "uint8" and self.case.metric == "l2"

    def _empty(self) -> Any:
        return self._kind(ndim=self.case.dim, metric=_NAMES[self.case.metric], **self.parameters())

    def _rows(self, vectors: NDArray[Any], first: int, count: int) -> NDArray[Any]:
        if not self._shifted:
            return float32_rows(vectors, first, count)
        return np.ascontiguousarray(vectors[first : first + count].astype(np.int16) - _MIDDLE, np.int8)

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Add all rows, on all threads."""
        index = self._empty()
        for first in range(0, self.case.rows, _BLOCK_ROWS):
            rows = self._rows(base, first, _BLOCK_ROWS)
            index.add(np.arange(first, first + len(rows), dtype=np.uint64), rows, threads=self.case.threads)
        index.save(str(folder / _FILE))

    def open(self, folder: Path) -> None:
        """Map the file."""
        self._index = self._empty()
        self._index.view(str(folder / _FILE))

    def settings(self) -> Sequence[Setting]:
        """Breadth of the search."""
        return [{"expansion_search": value} for value in (16, 32, 64, 128, 256)]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query on one thread."""
        self._index.expansion_search = max(setting["expansion_search"], k)
        keys = self._index.search(self._rows(query[None], 0, 1)[0], k, threads=1).keys
        return np.asarray(keys, np.int64)
