"""Memory that is planned too small is written beyond, or searched for ever."""

from __future__ import annotations

import numpy as np
import pytest

from pageann.index.kernels import state
from pageann.index.kernels.route import LEAST_CELLS
from pageann.index.kernels.scan import LANES
from pageann.index.search.load import LoadedSegment
from pageann.index.search.workspace import Workspace, WorkspaceFacts, WorkspaceSize
from tests.index.search.engines import Sample, running


@pytest.mark.parametrize("cells", [1, 4, LEAST_CELLS, 200])
@pytest.mark.parametrize("start_units", [1, 33, 64, 1024])
def test_a_level_has_room_for_its_scores_and_cells(cells: int, start_units: int) -> None:
    facts = WorkspaceFacts(
        rows=10**7,
        dim=8,
        table_sizes=(64 * 4, 32 * 4),
        quantised=False,
        walks=True,
        by_margin=False,
        copies=False,
        buffer_bytes=4096,
        groups=10**6,
        start_units=start_units,
    )
    size = WorkspaceSize(k=10, effort=20, scan_groups=50, cells=cells, width=4)
    arrays = facts.arrays(1, size)
    # The router scores a whole level, or the children of at least LEAST_CELLS cells.
    chosen = max(cells, LEAST_CELLS)
    whole = -(-start_units // LANES)
    assert arrays["unit_scores"][0] >= (max(whole, chosen) * LANES,)
    assert arrays["cells"][0] >= (2, max(whole, chosen))
    assert arrays["cell_scores"][0] == arrays["cell_places"][0] >= (chosen,)


def test_bytes_are_those_of_the_arrays(codes: Sample, segment: LoadedSegment) -> None:
    workspace = Workspace(segment.resident, 3, codes.options().size)
    arrays = sum(array.nbytes for array in workspace.work)
    assert workspace.bytes >= arrays + 3 * 8 * 4096
    assert workspace.bytes <= arrays + 3 * 8 * 4096 + 8192
    workspace.close()


def test_a_table_of_asked_pages_that_fills_up_ends_the_walk(
    codes: Sample, segment: LoadedSegment, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkspaceSize, "visited", lambda size: 32)
    with running(segment, driver) as engine:
        answers = engine.run(codes.asked, codes.whole())
    assert (answers.counters[:, state.N_READS] == 24).all()  # of 44 pages: three quarters of the table
    assert (answers.counts == 10).all()
    true = np.take_along_axis(codes.distances, answers.rows, axis=1)
    np.testing.assert_array_equal(answers.distances, true)
