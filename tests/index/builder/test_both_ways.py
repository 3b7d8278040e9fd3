"""Lists that also name who finds a vector near are those that sets and sorting give.

Guarded: a vector on nobody's list, which no other page would ever represent, and lists that depend on
how rows are cut into blocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.builder import both_ways
from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.residency import Residency
from pageann.storage.files import OsFiles
from tests.reference.vector_sets import SEEDS


def some_lists(seed: int, rows: int, width: int) -> NDArray[np.int32]:
    """Different rows in each list, -1 behind the last."""
    random = np.random.default_rng(seed)
    lists = np.full((rows, width), -1, np.int32)
    for row in range(rows):
        others = random.permutation(np.delete(np.arange(rows), row))[: random.integers(0, width + 1)]
        lists[row, : len(others)] = others
    return lists


def mixed_twin(lists: NDArray[np.int32], reverse_width: int, width: int) -> list[list[int]]:
    """By sorting all that name each row, then own before others of the same rank."""
    named: list[list[tuple[int, int]]] = [[] for _ in lists]
    for row, others in enumerate(lists.tolist()):
        for rank, other in enumerate(others):
            if other >= 0:
                named[other].append((rank, row))
    found = []
    for row, others in enumerate(lists.tolist()):
        entries = [(rank, 0, other) for rank, other in enumerate(others) if other >= 0]
        entries += [(rank, 1, other) for rank, other in sorted(named[row])[:reverse_width]]
        entries.sort(key=lambda entry: entry[:2])
        found.append(list(dict.fromkeys(other for _, _, other in entries))[:width])
    return found


@settings(max_examples=60, deadline=None)
@given(
    SEEDS, st.integers(1, 40), st.integers(1, 9), st.integers(1, 6), st.integers(1, 12), st.integers(1, 50)
)
def test_lists_are_mixed_by_rank(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    rows: int,
    width: int,
    reverse_width: int,
    mixed_width: int,
    block_rows: int,
) -> None:
    lists = some_lists(seed, rows, width)
    folder: Path = tmp_path_factory.mktemp("lists")
    store = Checkpoints(OsFiles(), folder, folder, Residency(1 << 30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(both_ways, "_REVERSE_WIDTH", reverse_width)
        patch.setattr(both_ways, "_MIXED_WIDTH", mixed_width)
        patch.setattr(both_ways, "_BLOCK_ROWS", block_rows)
        mixed = both_ways.lists_both_ways(lists, 2, store.scratch, store.residency)
    for row, expected in enumerate(mixed_twin(lists, reverse_width, mixed_width)):
        assert mixed[row, : len(expected)].tolist() == expected
        assert (mixed[row, len(expected) :] == -1).all()
