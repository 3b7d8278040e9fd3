"""Queries, the ids of their true neighbours and their groups, read and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.options import BenchOptions
from pageann.datasets.source import open_vectors
from pageann.datasets.truth_files import read_truth_ids
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["BenchInputs", "read_inputs"]

_BLOCK_ROWS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class BenchInputs:
    """What is asked, and what the right answers are."""

    queries: NDArray[Any]
    """(q, dim), contiguous, in the type of the file."""
    truth: NDArray[np.int64]
    """(q, min(k, rows)): ids of the true neighbours."""
    groups: NDArray[np.int64]
    """(q,): 0, 1, ...; queries of one group are drawn together by the bootstrap."""


def read_inputs(options: BenchOptions, rows: int) -> BenchInputs:
    """Read the files that ``options`` names, for an index of ``rows`` vectors."""
    queries = _read_queries(options)
    truth = _read_truth(options, len(queries), min(options.k, rows))
    return BenchInputs(queries, truth, _read_groups(options, len(queries)))


def _read_queries(options: BenchOptions) -> NDArray[Any]:
    source = open_vectors(options.queries, column=options.column, dataset=options.dataset)
    wanted = min(options.limit or source.rows, source.rows)
    blocks = []
    for first, block in source.blocks(min(wanted, _BLOCK_ROWS)):
        if first >= wanted:
            break
        blocks.append(np.array(block[: wanted - first]))
    return np.concatenate(blocks)


def _read_truth(options: BenchOptions, queries: int, columns: int) -> NDArray[np.int64]:
    truth = read_truth_ids(options.truth)
    if truth.shape[1] < columns:
        raise InvalidData(
            f"{options.truth}: has {truth.shape[1]} neighbours a query, --k {options.k} needs {columns};"
            " make the truth deeper or k smaller"
        )
    return np.ascontiguousarray(_per_query(truth, options.truth, queries)[:, :columns])


def _read_groups(options: BenchOptions, queries: int) -> NDArray[np.int64]:
    if options.groups is None:
        return np.arange(queries, dtype=np.int64)
    groups = _load_groups(options.groups)
    if groups.ndim != 1:
        raise InvalidData(f"{options.groups}: has shape {groups.shape}; --groups wants one value a query")
    _, numbers = np.unique(_per_query(groups, options.groups, queries), return_inverse=True)
    return numbers.astype(np.int64)


def _per_query(array: NDArray[Any], path: str, queries: int) -> NDArray[Any]:
    if len(array) < queries:
        raise InvalidData(f"{path}: has {len(array)} rows for {queries} queries; use --limit {len(array)}")
    return array[:queries]


def _load_groups(path: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InvalidArgument(f"--groups {path}: no such file") from None
    except (ValueError, EOFError) as error:
        raise InvalidData(f"--groups {path}: not a plain .npy array ({error})") from None
    return array
