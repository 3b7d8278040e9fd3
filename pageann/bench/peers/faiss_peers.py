"""faiss: HNSW in memory, and inverted lists mapped from a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting, float32_rows, normalised

__all__ = ["FaissHnsw", "FaissIvf"]

_FILE = "index.faiss"
_BLOCK_ROWS = 50_000
_TRAIN_PER_LIST = 64


class _Faiss(Peer):
    package = "faiss-cpu"
    _index: Any

    def load(self) -> None:
        import faiss

        self._faiss: Any = faiss
        faiss.omp_set_num_threads(1)

    def _metric(self) -> int:
        faiss = self._faiss
        return int(faiss.METRIC_L2 if self.case.metric == "l2" else faiss.METRIC_INNER_PRODUCT)

    def _vectors(self, base: NDArray[Any], first: int, count: int) -> NDArray[np.float32]:
        vectors = float32_rows(base, first, count)
        return normalised(vectors) if self.case.metric == "cosine" else vectors

    def _fill(self, index: Any, base: NDArray[Any]) -> None:
        for first in range(0, self.case.rows, _BLOCK_ROWS):
            index.add(self._vectors(base, first, _BLOCK_ROWS))

    def _storage(self) -> str:
        """The lossless form of the vectors."""
        return "SQ8_direct" if self.case.dtype == "uint8" and self.case.metric != "cosine" else "Flat"

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        rows = self._vectors(query[None], 0, 1)
        _, ids = self._index.search(rows, k, params=self._search_parameters(setting))
        found: NDArray[np.int64] = ids[0]
        return found[found >= 0]

    @abstractmethod
    def _search_parameters(self, setting: Setting) -> Any:
        """What faiss is given for ``setting``."""


class FaissHnsw(_Faiss):
    """A graph over all vectors, everything in memory."""

    description = "HNSW, graph and vectors in memory"

    def parameters(self) -> dict[str, Any]:
        """Links a vector, breadth of the construction, and how vectors are held."""
        return {"M": 32, "efConstruction": 200, "vectors": self._storage()}

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Add all rows, on all threads."""
        faiss, given = self._faiss, self.parameters()
        faiss.omp_set_num_threads(self.case.threads)
        name = f"HNSW{given['M']}" + ("" if given["vectors"] == "Flat" else f",{given['vectors']}")
        index = faiss.index_factory(self.case.dim, name, self._metric())
        index.hnsw.efConstruction = given["efConstruction"]
        if not index.is_trained:
            index.train(self._vectors(base, 0, _BLOCK_ROWS))
        self._fill(index, base)
        faiss.write_index(index, str(folder / _FILE))

    def open(self, folder: Path) -> None:
        """Read everything."""
        self._index = self._faiss.read_index(str(folder / _FILE))

    def settings(self) -> Sequence[Setting]:
        """Breadth of the search."""
        return [{"efSearch": value} for value in (16, 32, 64, 128, 256)]

    def _search_parameters(self, setting: Setting) -> Any:
        return self._faiss.SearchParametersHNSW(efSearch=setting["efSearch"])


class FaissIvf(_Faiss):
    """Lists of vectors by coarse cluster, in a mapped file."""

    description = "IVF, lists mapped from disk"

    def parameters(self) -> dict[str, Any]:
        """Number of lists, and how vectors are held."""
        storage = self._storage()
        return {
            "nlist": max(1, int(4 * self.case.rows**0.5)),
            "vectors": storage,
            "by_residual": storage != "SQ8_direct",
        }

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Train the lists on a sample, add all rows."""
        faiss, given = self._faiss, self.parameters()
        faiss.omp_set_num_threads(self.case.threads)
        index = faiss.index_factory(self.case.dim, f"IVF{given['nlist']},{given['vectors']}", self._metric())
        if not given["by_residual"]:
            index.by_residual = False  # SQ8_direct holds bytes, and a residual is none
        step = max(1, self.case.rows // (_TRAIN_PER_LIST * given["nlist"]))
        index.train(self._vectors(base[::step], 0, self.case.rows))
        self._fill(index, base)
        faiss.write_index(index, str(folder / _FILE))

    def open(self, folder: Path) -> None:
        """Map the lists, read the rest."""
        faiss = self._faiss
        self._index = faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)

    def settings(self) -> Sequence[Setting]:
        """Lists looked at."""
        return [{"nprobe": value} for value in (4, 8, 16, 32, 64, 128) if value <= self.parameters()["nlist"]]

    def _search_parameters(self, setting: Setting) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=setting["nprobe"])
