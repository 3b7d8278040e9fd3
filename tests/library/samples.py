"""Small indexes of every kind, each built once in a session when first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered

DTYPES = ("float32", "float16", "int8", "uint8")
METRICS = ("l2", "ip", "cosine")
SMALL = "1MiB"
"""A budget in which every small index fits, with codes of all vectors."""
QUERIES = 30


@dataclass(frozen=True)
class Kind:
    """What decides a sample."""

    rows: int = 900
    dim: int = 24
    dtype: str = "float32"
    metric: str = "l2"
    memory: str = SMALL
    ids: str = ""
    """``int64``, ``str``, or nothing for row numbers."""
    seed: int = 7


@dataclass(frozen=True)
class Sample:
    """An index, what it was built from, and queries that are not in it."""

    kind: Kind
    path: Path
    base: NDArray[Any]
    queries: NDArray[Any]
    ids: NDArray[Any]
    opener: Callable[..., pageann.Index] = pageann.open
    """How tests open it: by the library, or as a client of a service, which must do the same."""

    def open(self, memory: Any = None, **options: Any) -> pageann.Index:
        """The index, open, with two threads unless told otherwise."""
        return self.opener(self.path, memory=memory, **{"threads": 2, **options})

    def least_bytes(self, threads: int = 2) -> int:
        """The least budget that works, as the refusal of a hopeless one names it."""
        with pytest.raises(pageann.BudgetTooSmall) as caught:
            pageann.open(self.path, memory=1, threads=threads)
        assert str(caught.value.required_bytes) in str(caught.value)
        return caught.value.required_bytes


CODES = Kind()
"""Codes of all vectors are resident."""
WALK = Kind(rows=20_000, memory="110KiB")
"""Pages hold codes of their neighbours; nothing but the router is resident."""
TWO_TIER = Kind(rows=300, dim=768, memory="100%")
"""Quantised pages, and exact vectors in a file of their own."""
LAYOUTS = {"codes": CODES, "walk": WALK, "two-tier": TWO_TIER}


@functools.cache
def vectors_of(rows: int, dim: int, dtype: str, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(base, queries) of clustered vectors."""
    return clustered(rows, dim, dtype=dtype, clusters=12, queries=QUERIES, seed=seed)


def ids_of(kind: Kind) -> NDArray[Any]:
    """Ids of every row, in no order."""
    shuffled = np.random.default_rng(kind.seed).permutation(kind.rows).astype(np.int64)
    if kind.ids == "str":
        return np.array([f"photo-{number:x}-{'é' * (number % 3)}" for number in shuffled], dtype=object)
    return 7 * shuffled - 1000 if kind.ids else np.arange(kind.rows)


def build_sample(kind: Kind, path: Path, **options: Any) -> Sample:
    """Build ``kind`` at ``path``."""
    base, queries = vectors_of(kind.rows, kind.dim, kind.dtype, kind.seed)
    ids = ids_of(kind)
    given = ids.tolist() if kind.ids else None
    settings = {"metric": kind.metric, "memory": kind.memory, "threads": 2, "ids": given, **options}
    pageann.build(base, path, **settings)
    return Sample(kind, path, base, queries, ids)


class Samples:
    """Builds each kind once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[Kind, Sample] = {}

    def __call__(self, kind: Kind) -> Sample:
        if kind not in self._built:
            self._built[kind] = build_sample(kind, self._folder / f"{len(self._built)}.pageann")
        return self._built[kind]
