"""A segment of a few hundred vectors, built and opened without an index around it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pageann.index.builder.checkpoint import Checkpoints
from pageann.index.builder.navigation import Navigation, navigation_view
from pageann.index.builder.parallel import one_blas_thread
from pageann.index.builder.residency import Residency
from pageann.index.builder.segment import BuiltSegment, SegmentInput, build_segment
from pageann.index.kernels import state
from pageann.index.search.load import LoadedSegment, Residence, load_segment
from pageann.index.search.workspace import Workspace, WorkspaceSize
from pageann.index.segment_files import Shape
from pageann.storage.files import OsFiles
from pageann.storage.manifest import SegmentEntry
from pageann.types import Metric

TAG = 77
ALL_ROTATED = frozenset({"router", "codes", "reps"})


def small_shape(dim: int, **changes: Any) -> Shape:
    """Pages of 4 vectors with 4 bytes of resident code each; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "page_bytes": 4096,
        "capacity": 4,
        "group_pages": 1,
        "router_bytes": -(-dim // 2),
        "code_bytes": (min(4, -(-dim // 2)),),
        "rep_bytes": 0,
        "rep_capacity": 0,
        "link_capacity": 0,
        "quantised": False,
        "exact_page_bytes": 0,
        "exact_capacity": 0,
        "row_bytes": 4,
    }
    return Shape(**{**fields, **changes})


@dataclass(frozen=True)
class SmallSegment:
    """What was built, and from what."""

    folder: Path
    vectors: NDArray[Any]
    navigation: Navigation
    entry: SegmentEntry
    built: BuiltSegment

    def load(self, code_bytes: int = 0, pinned_pages: int = 0) -> LoadedSegment:
        """Open it; the caller closes it."""
        return load_segment(self.folder, self.entry, Residence(code_bytes, pinned_pages, False))


def build_small(
    folder: Path,
    vectors: NDArray[Any],
    metric: Metric,
    shape: Shape,
    *,
    rotate: frozenset[str] = ALL_ROTATED,
    seed: int = 0,
    threads: int = 1,
) -> SmallSegment:
    """Build a segment into ``folder``, which is made."""
    folder.mkdir(parents=True)
    with one_blas_thread():
        navigation = navigation_view(vectors, metric, folder)
        given = SegmentInput(vectors, metric, shape, rotate, seed, threads, TAG)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            store = Checkpoints(OsFiles(), Path(scratch), folder, Residency(1 << 30))
            store.begin("test")
            built = build_segment(given, folder, OsFiles(), lambda name: lambda done, total: None, store)
    entry = SegmentEntry(
        "seg-000001", len(vectors), vectors.shape[1], str(vectors.dtype), metric.label, TAG, built.files,
        {"shape": shape.to_json()},
    )  # fmt: skip
    return SmallSegment(folder, vectors, navigation, entry, built)


def workspace_for(
    segment: LoadedSegment, *, effort: int = 40, groups: int = 10**6, cells: int = 64
) -> Workspace:
    """Memory for two queries, with its call options set; the caller closes it."""
    workspace = Workspace(segment.resident, 2, WorkspaceSize(10, effort, groups, cells, 4))
    workspace.work.call[state.CALL_SCAN_GROUPS] = groups
    workspace.work.call[state.CALL_CELLS] = cells
    return workspace
