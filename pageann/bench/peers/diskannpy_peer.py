"""diskannpy: Microsoft's DiskANN, graph and vectors on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting

__all__ = ["Diskannpy"]

_NAMES = {"l2": "l2", "ip": "mips", "cosine": "cosine"}
_GIB = 1 << 30


class Diskannpy(Peer):
    """A Vamana graph on disk, walked by product codes in memory."""

    package = "diskannpy"
    description = "DiskANN on disk"

    def load(self) -> None:
        """Import it."""
        import diskannpy

        self._diskannpy: Any = diskannpy

    def parameters(self) -> dict[str, Any]:
        """Links a vector, breadth of the construction, share of the vectors that codes may take in memory."""
        return {"graph_degree": 64, "complexity": 100, "memory_share": 0.3}

    def _type(self) -> type[Any]:
        return {"uint8": np.uint8, "int8": np.int8}.get(self.case.dtype, np.float32)

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Build from all rows at once."""
        given, kind = self.parameters(), self._type()
        raw_bytes = self.case.rows * self.case.dim * np.dtype(kind).itemsize
        self._diskannpy.build_disk_index(
            data=np.ascontiguousarray(base, dtype=kind),
            distance_metric=_NAMES[self.case.metric],
            index_directory=str(folder),
            complexity=given["complexity"],
            graph_degree=given["graph_degree"],
            search_memory_maximum=given["memory_share"] * raw_bytes / _GIB,
            build_memory_maximum=4.0,
            num_threads=self.case.threads,
            pq_disk_bytes=0,
            vector_dtype=kind,
        )

    def open(self, folder: Path) -> None:
        """Open it, without a cache of nodes."""
        self._index = self._diskannpy.StaticDiskIndex(
            index_directory=str(folder), num_threads=1, num_nodes_to_cache=0
        )

    def settings(self) -> Sequence[Setting]:
        """Breadth of the search."""
        return [{"complexity": value, "beam_width": 4} for value in (20, 40, 80, 160, 320)]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query."""
        found = self._index.search(
            np.ascontiguousarray(query, self._type()),
            k_neighbors=k,
            complexity=max(setting["complexity"], k),
            beam_width=setting["beam_width"],
        )
        return np.asarray(found.identifiers, np.int64)
