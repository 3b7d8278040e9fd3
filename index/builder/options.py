"""How to build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pageann.index.code_families import Family
from pageann.types import ByteSize, Metric

if TYPE_CHECKING:
    from pageann.index.builder.query_sample import QuerySample

__all__ = ["BuildOptions"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build."""

    metric: Metric
    memory: ByteSize
    """What the index is built for."""
    least_memory_bytes: int
    """Raises a smaller ``memory``."""
    build_memory: ByteSize | None
    page_bytes: int | None
    seed: int
    threads: int
    replace: bool
    resume: bool = True
    """Go on where an earlier build of the same input and options stopped."""
    disk_bytes: int | None = None
    """What the index may take on disk; what is left of it is spent on copies of vectors. None: no copies."""
    codes: Family | None = None
    """Of all vectors; None: the family that orders a sample best for what it costs."""
    queries_sample: QuerySample | None = None
    """Queries to build for, where they do not lie as the vectors do."""

    def to_json(self, memory_bytes: int) -> dict[str, Any]:
        """What of it decides the bytes of the index; the manifest keeps it."""
        decisive: dict[str, Any] = {
            "metric": self.metric.label,
            "memory_bytes": memory_bytes,
            "page_bytes": self.page_bytes or 0,
            "seed": self.seed,
        }
        if self.disk_bytes is not None:
            decisive["disk_bytes"] = self.disk_bytes
        if self.codes is not None:
            decisive["codes"] = str(self.codes)
        if self.queries_sample is not None:
            decisive["queries_sample"] = self.queries_sample.to_json()
        return decisive
