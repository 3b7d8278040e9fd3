"""An index that compares with every vector, behind the public interface of an open index.

Tests of what stands on top of the library (command line, benchmark) run against it where the answer,
not the index, is the point.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.errors import BuildCancelled, UnknownId
from pageann.results import (
    BuildReport,
    Ledger,
    LedgerItem,
    Progress,
    QueryStats,
    RangeResult,
    SearchResult,
    StopReason,
)

LEDGER = Ledger((LedgerItem("router", 1024, "16 centroids"), LedgerItem("codes", 3 << 20)), 4 << 20)
PHASES = ("partition", "packing", "pages")


class ExactIndex:
    """Squared Euclidean distances to all of ``vectors``; every query costs ``reads`` reads."""

    metric = "l2"
    path = "exact.pageann"
    reads = 3

    def __init__(self, vectors: NDArray[Any], ids: NDArray[Any] | None = None) -> None:
        self.vectors = vectors
        self.ids = np.arange(len(vectors)) if ids is None else ids
        self.rows, self.dim = vectors.shape
        self.dtype = vectors.dtype
        self.ledger = LEDGER
        self.closed = False

    def __enter__(self) -> ExactIndex:
        return self

    def __exit__(self, *failure: object) -> None:
        self.closed = True

    def search(
        self, queries: NDArray[Any], k: int = 10, *, radius: float | None = None, **options: Any
    ) -> SearchResult | RangeResult:
        difference = queries[:, None, :].astype(np.float64) - self.vectors.astype(np.float64)
        distances = (difference**2).sum(axis=2)
        order = np.argsort(distances, axis=1, kind="stable")
        nearest = np.take_along_axis(distances, order, axis=1)
        stats = self._stats(len(queries), options.get("effort") or 40)
        if radius is not None:
            counts = (nearest < radius).sum(axis=1)
            lims = np.concatenate([[0], np.cumsum(counts)])
            inside = nearest < radius
            return RangeResult(lims, self.ids[order[inside]], nearest[inside].astype(np.float32), stats)
        return self._padded(order, nearest, k, stats)

    async def asearch(self, queries: NDArray[Any], k: int = 10, **options: Any) -> Any:
        return self.search(queries, k, **options)

    def _padded(self, order: NDArray[Any], nearest: NDArray[Any], k: int, stats: QueryStats) -> SearchResult:
        count, queries = min(k, self.rows), len(order)
        empty = None if self.ids.dtype == object else -1
        ids = np.full((queries, k), empty, self.ids.dtype)
        distances = np.full((queries, k), np.inf, np.float32)
        ids[:, :count] = self.ids[order[:, :count]]
        distances[:, :count] = nearest[:, :count]
        complete = np.ones(queries, np.bool_)
        return SearchResult(ids, distances, np.full(queries, count, np.int32), stats, complete)

    def _stats(self, queries: int, effort: int) -> QueryStats:
        def each(value: float) -> NDArray[Any]:
            return np.full(queries, value)

        return QueryStats(
            reads=each(self.reads),
            kib=each(4.0 * self.reads),
            units=each(1.0 * self.reads),
            hops=each(1),
            codes_scored=each(self.rows),
            pinned_hits=each(0),
            shared_reads=each(0),
            route_us=each(1.0),
            scan_us=each(2.0),
            read_us=each(3.0),
            total_us=each(6.0),
            effort=each(effort),
            stopped=each(StopReason.CONVERGED),
        )

    def get(self, ids: NDArray[Any]) -> NDArray[Any]:
        places = {name: row for row, name in enumerate(self.ids.tolist())}
        for name in np.asarray(ids).tolist():
            if name not in places:
                raise UnknownId(f"id {name} is not in the index")
        return self.vectors[[places[name] for name in np.asarray(ids).tolist()]]

    def export(self, path: str) -> None:
        np.save(path, self.vectors)

    def describe(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "dim": self.dim,
            "dtype": str(self.dtype),
            "metric": self.metric,
            "page_bytes": 4096,
            "ledger": self.ledger.to_dict(),
            "io": {"driver": "threads", "reason": "io_uring is not to be had", "direct_io": True},
            "recall_curve": [{"effort": 20, "recall": 0.91}, {"effort": 40, "recall": 0.955}],
        }


class ExactLibrary(types.ModuleType):
    """Stands in for ``pageann.api``: one index, and a record of the calls."""

    def __init__(self, index: ExactIndex) -> None:
        super().__init__("pageann.api")
        self.index = index
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.failure: BaseException | None = None
        self.damage: list[Any] = []
        self.phases_reported = 0

    def open(self, *arguments: Any, **options: Any) -> ExactIndex:
        self._record("open", arguments, options)
        return self.index

    def build(self, *arguments: Any, progress: Any, **options: Any) -> BuildReport:
        self._record("build", arguments, options)
        for number, phase in enumerate(PHASES, start=1):
            self.phases_reported += 1
            if progress(Progress(phase, number, len(PHASES), 50, 100, 10.0, 5.0, 1.0 * number)) is False:
                raise BuildCancelled("the build was cancelled")
        phases = tuple((phase, 0.5) for phase in PHASES)
        return BuildReport(
            self.index.rows, self.index.dim, "float32", "l2", 4, 4096, 30, 16384, 1.5, phases, 1 << 20, LEDGER
        )

    def verify(self, path: str) -> list[Any]:
        self._record("verify", (path,), {})
        return self.damage

    def warmup(self, dtypes: Any = None) -> None:
        self._record("warmup", (), {"dtypes": dtypes})

    def _record(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.calls.append((name, arguments, options))
        if self.failure is not None:
            raise self.failure
