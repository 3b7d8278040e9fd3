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
def test_units_of_a_level_have_room_beside_their_chosen_cells(cells: int, start_units: int) -> None:
    facts = WorkspaceFacts(
        dim=8, table_rows=4, quantised=False, buffer_bytes=4096, groups=10**6, start_units=start_units
    )
    size = WorkspaceSize(k=10, effort=20, scan_groups=50, cells=cells, width=4)
    # The router scores the children of at least LEAST_CELLS cells, and keeps those at the end.
    chosen = max(cells, LEAST_CELLS)
    assert facts.units(size) >= max(start_units, chosen * LANES) + chosen


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
