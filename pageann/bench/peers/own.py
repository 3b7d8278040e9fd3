"""PageANN itself, measured like the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.peers.contract import Peer, Setting

__all__ = ["Own"]

_NAME = "own.pageann"


class Own(Peer):
    """An index built for, and opened with, one memory budget."""

    package = "pageann"
    description = "pages on disk, under a memory budget"

    def load(self) -> None:
        """Import it."""
        import pageann

        self._pageann: Any = pageann
        pageann.open  # noqa: B018  (names are loaded on first use)

    def parameters(self) -> dict[str, Any]:
        """The budget, page size and seed."""
        return {"memory": None, "page_bytes": None, "seed": 0, **self.case.options}

    def _memory(self) -> Any:
        """The budget; a few rows need more than their share of it."""
        return self.parameters()["memory"] if self.case.rows > 5000 else None

    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Build on all threads."""
        given = {**self.parameters(), "memory": self._memory()}
        self._pageann.build(base, folder / _NAME, metric=self.case.metric, threads=self.case.threads, **given)

    def open(self, folder: Path) -> None:
        """Open with the budget that it was built for."""
        self._index = self._pageann.open(folder / _NAME, memory=self._memory())

    def settings(self) -> Sequence[Setting]:
        """Candidates kept."""
        return [{"effort": value} for value in (10, 20, 30, 60, 120)]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """One query."""
        found = self._index.search(query, k, effort=setting["effort"], stats=False)
        ids: NDArray[np.int64] = found.ids[0, : found.counts[0]]
        return ids
