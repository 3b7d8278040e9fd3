"""What a build needs of memory and disk, from the shape of its input; refused before it starts."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pageann.errors import BudgetTooSmall, StorageError
from pageann.index.builder.arrange import ordering_bytes
from pageann.index.builder.both_ways import BOTH_WAYS_ROW_BYTES
from pageann.index.builder.coding import training_bytes
from pageann.index.builder.disk_room import DiskRoom, index_bytes, most_id_bytes
from pageann.index.builder.layout import Plan
from pageann.index.builder.neighbours import LIST_WIDTH
from pageann.index.builder.options import BuildOptions
from pageann.index.builder.packing import SWAP_NEIGHBOURS
from pageann.index.builder.trees import SUBTREE_BYTES
from pageann.index.machine import available_memory_bytes
from pageann.types import Metric, format_bytes

__all__ = ["FREE_RAM_SHARE", "Needs", "build_budget", "build_needs", "expected_peak_bytes", "require_disk"]

FREE_RAM_SHARE = 0.75
"""Of free memory that a build takes unless told otherwise."""
_WINDOW_BYTES = 16 << 20
"""Of mapped files that must fit beside all else."""
_ROW_BYTES = 28
"""Order, slots, norms, keys and proposals, while pages are packed."""
_ORDER_BYTES = 12
"""A row: the order of the pages, and which rows are copied, while those are packed."""
_THREAD_BYTES = 2 * SUBTREE_BYTES + (8 << 20)
_TREE_ROW_BYTES = LIST_WIDTH * 8
_CODING_SHARE = 1.25
"""Of what training takes, as far as it was seen to be resident."""
_RUNTIME_BYTES = 100 << 20
"""Kernels and libraries that are loaded while a build runs."""
_KEPT_SHARE = 0.85
"""Of the budget, at which mapped files are let go of (:mod:`.residency`)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Of a build, in bytes."""

    memory_bytes: int
    """The least build memory that works."""
    disk_bytes: int
    """Most that it has on disk at one time: working files and the new version."""
    index_bytes: int
    """Of the new version alone, about."""
    touched_bytes: int
    """Most that is resident at one time where nothing has to be let go of."""


def build_needs(
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    plan: Plan,
    memory_bytes: int,
    options: BuildOptions,
    room: DiskRoom | None = None,
) -> Needs:
    """What building an index of ``rows`` x ``dim`` for ``memory_bytes`` needs.

    Ids are taken to be row numbers unless ``room`` says what they take.
    """
    id_bytes = most_id_bytes(None, rows) if room is None else room.id_bytes
    raw = rows * dim * dtype.itemsize
    converted = options.metric is Metric.COSINE or dtype in (np.dtype(np.int8), np.dtype(np.float16))
    narrow = dtype.itemsize == 1 and options.metric is not Metric.COSINE
    navigation = rows * dim * (1 if narrow else 4)
    shape = plan.shape
    groups = shape.group_count(rows)
    training = training_bytes(rows, dim)
    packing = rows * _ROW_BYTES + ordering_bytes(groups, dim)
    if shape.copy_pages:  # what was decided before is kept meanwhile
        packing = max(packing, rows * (_ROW_BYTES + _ORDER_BYTES) + 4 * dim * (groups + shape.copy_pages))
    buffers = options.threads * min(_THREAD_BYTES, 4 * navigation)
    memory = max(packing, training + 8 * rows, memory_bytes) + buffers + _WINDOW_BYTES
    codes = sum(width + 1 for width in (*shape.code_bytes, shape.rep_bytes)) * rows
    index = index_bytes(shape, rows, dim, plan.rotate, id_bytes)
    copies = navigation + (raw if options.metric is Metric.COSINE else 0)
    lists = 3 * _TREE_ROW_BYTES * rows
    edges = shape.page_count(rows) * 4 * (shape.link_capacity + shape.rep_capacity)
    edges += BOTH_WAYS_ROW_BYTES * rows if shape.rep_capacity else 0
    late = _TREE_ROW_BYTES // 2 * rows + codes + edges + index
    spread = shape.copy_pages * shape.capacity * (navigation // rows + 4 * SWAP_NEIGHBOURS)
    disk = copies + max(navigation if converted else 0, lists, late + spread)
    mapped = raw + copies + _TREE_ROW_BYTES // 2 * rows
    ordered = 8 * rows + 4 * dim * groups
    coding = codes + ordered + int(_CODING_SHARE * training)
    joining = _TREE_ROW_BYTES // 2 * rows + buffers
    return Needs(memory, disk, index, mapped + max(coding, joining))


def expected_peak_bytes(start_bytes: int, budget_bytes: int, needs: Needs) -> int:
    """The largest resident set to expect of a process that takes ``start_bytes`` when a build begins."""
    return start_bytes + _RUNTIME_BYTES + min(int(_KEPT_SHARE * budget_bytes), needs.touched_bytes)


def build_budget(options: BuildOptions, needs: Needs, raw_bytes: int) -> int:
    """The memory that the build may use; BudgetTooSmall where it needs more."""
    if options.build_memory is None:
        budget = int(FREE_RAM_SHARE * available_memory_bytes())
    else:
        budget = options.build_memory.resolve(raw_bytes)
    if needs.memory_bytes > budget:
        raise BudgetTooSmall(
            f"build_memory={format_bytes(budget)} is too small for this input; the build needs "
            f"{needs.memory_bytes} bytes ({format_bytes(needs.memory_bytes)})",
            needs.memory_bytes,
        )
    return budget


def require_disk(path: Path, needs: Needs) -> None:
    """Raise StorageError where the disk under ``path`` has no room for the build."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free + _unfinished_bytes(path)
    if needs.disk_bytes > free_bytes:
        raise StorageError(
            f"{path}: the build needs {format_bytes(needs.disk_bytes)} of disk, "
            f"{format_bytes(free_bytes)} are free; free some space or build on another disk",
            errno.ENOSPC,
        )


def _unfinished_bytes(path: Path) -> int:
    """What an earlier build has on the disk already, and this one goes on with or removes."""
    total = 0
    with suppress(OSError):  # it may belong to a build that is running, and vanish meanwhile
        for folder in path.glob("*.tmp"):
            total += sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    return total
