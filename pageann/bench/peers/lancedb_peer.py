"""lancedb: inverted lists of product codes on disk, re-ranked by exact vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting, float32_rows

__all__ = ["Lancedb"]

_TABLE = "vectors"
_BLOCK_ROWS = 20_000
_NAMES = {"l2": "l2", "ip": "dot", "cosine": "cosine"}


class Lancedb(Peer):
    """IVF_PQ with a re-ranking of the best by exact distance."""

    package = "lancedb"
    description = "IVF_PQ on disk, refined by exact vectors, float32"

    def load(self) -> None:
        """Import it."""
        import lancedb
        import lancedb.index
        import pyarrow

        self._lancedb: Any = lancedb
        self._arrow: Any = pyarrow

    def parameters(self) -> dict[str, Any]:
        """Number of lists and of parts of a code."""
        parts = next(count for count in (self.case.dim // 4, self.case.dim // 2, 1) if self._divides(count))
        return {"num_partitions": max(1, int(self.case.rows**0.5)), "num_sub_vectors": parts}

    def _divides(self, count: int) -> bool:
        return count > 0 and self.case.dim % count == 0

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Write the table, then its index."""
        arrow = self._arrow
        vector = arrow.list_(arrow.float32(), self.case.dim)
        schema = arrow.schema([("id", arrow.int64()), ("vector", vector)])
        database = self._lancedb.connect(str(folder))
        table = database.create_table(_TABLE, data=self._batches(base, schema), schema=schema)
        kind = self._lancedb.index.IvfPq(distance_type=_NAMES[self.case.metric], **self.parameters())
        table.create_index("vector", config=kind)

    def _batches(self, base: NDArray[Any], schema: Any) -> Iterator[Any]:
        arrow = self._arrow
        for first in range(0, self.case.rows, _BLOCK_ROWS):
            rows = float32_rows(base, first, _BLOCK_ROWS)
            vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(rows.reshape(-1)), self.case.dim)
            ids = arrow.array(np.arange(first, first + len(rows)))
            yield arrow.record_batch([ids, vectors], schema=schema)

    def open(self, folder: Path) -> None:
        """Open the table."""
        self._table = self._lancedb.connect(str(folder)).open_table(_TABLE)

    def settings(self) -> Sequence[Setting]:
        """Lists looked at, and how many times k are re-ranked."""
        pairs = ((5, 2), (10, 4), (20, 5), (40, 10), (80, 20))
        return [{"nprobes": probes, "refine_factor": refine} for probes, refine in pairs]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query."""
        found = (
            self._table.search(float32_rows(query[None], 0, 1)[0], vector_column_name="vector")
            .distance_type(_NAMES[self.case.metric])
            .nprobes(setting["nprobes"])
            .refine_factor(setting["refine_factor"])
            .limit(k)
            .select(["id"])
            .to_arrow()
        )
        return np.asarray(found["id"].to_numpy(), np.int64)
