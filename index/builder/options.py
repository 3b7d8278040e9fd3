"""How to build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pageann.types import ByteSize, Metric

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

    def to_json(self, memory_bytes: int) -> dict[str, Any]:
        """What of it decides the bytes of the index; the manifest keeps it."""
        return {
            "metric": self.metric.label,
            "memory_bytes": memory_bytes,
            "page_bytes": self.page_bytes or 0,
            "seed": self.seed,
        }
