"""What a system must offer to be compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Case", "Peer", "Setting", "float32_rows", "normalised"]

Setting = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What all systems have in common."""

    rows: int
    dim: int
    dtype: str
    metric: str
    """``l2``, ``ip`` or ``cosine``."""
    threads: int
    """For the build; a search of one query runs on one thread where the system lets us say so."""
    options: Mapping[str, Any]
    """What one system alone needs to know, such as a memory budget."""


class Peer(ABC):
    """One system; an instance serves one build, or one opened index."""

    package: ClassVar[str]
    """Name of the distribution whose version is reported."""
    description: ClassVar[str]
    """What of it is used, in a few words."""
    refusals: ClassVar[Mapping[str, str]] = {}
    """Metrics under which it is not run, and why."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def version(self) -> str:
        """The version that is installed."""
        return metadata.version(self.package)

    @abstractmethod
    def load(self) -> None:
        """Import the package; ImportError where it is not installed."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What the index is built with, as it is printed; a cached build is used if these are the same."""

    @abstractmethod
    def build(self, base: NDArray[Any], folder: Path) -> None:
        """Build an index of ``base`` (rows, dim), row numbers being the ids, in an empty ``folder``."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Open what :meth:`build` left in ``folder``."""

    @abstractmethod
    def settings(self) -> Sequence[Setting]:
        """Settings of a search, from quick to thorough."""

    @abstractmethod
    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        """At most k row numbers for one query (dim,) of the type of the queries' file."""


def float32_rows(base: NDArray[Any], first: int, count: int) -> NDArray[np.float32]:
    """``count`` rows from ``first`` on, as contiguous float32."""
    return np.ascontiguousarray(base[first : first + count], dtype=np.float32)


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one, for systems that know the cosine only as an inner product."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.float32(1e-30)), np.float32)
