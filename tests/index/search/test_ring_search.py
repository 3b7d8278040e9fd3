"""The loop over a ring leaves no read in flight: the device would write to memory that is used again."""

from __future__ import annotations

import errno
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import StorageError
from pageann.index.kernels.uring_search import search_over_ring
from pageann.index.search.answers import UNANSWERED, Answers
from pageann.index.search.load import LoadedSegment
from pageann.index.search.part import Part
from pageann.index.search.workspace import Workspace
from pageann.storage.io.faults import Fault, FaultKind, FaultTable
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT
from tests.index.search.engines import Sample

SLOTS = 4


@pytest.fixture(autouse=True)
def uring() -> None:
    """Skips where io_uring is not to be had."""
    try:
        Ring(1).close()
    except StorageError as error:
        pytest.skip(str(error))


def search(
    sample: Sample, segment: LoadedSegment, ring: Ring, stop: NDArray[np.int64]
) -> tuple[int, Answers]:
    """Search everything for all queries; what the loop returns, and the answers."""
    options = sample.whole()
    workspace = Workspace(segment.resident, SLOTS, options.size)
    options.write(workspace.work.call)
    asked = sample.asked
    answers = Answers.unanswered(len(asked), options.size.k)
    excluded = np.full(len(asked), -1, np.int64)
    part = Part.of(asked, options, excluded, answers, np.arange(len(asked)), stop)
    outcome = search_over_ring(segment.resident, workspace.work, ring.state, part.asked)
    assert ring.state[IN_FLIGHT_COUNT] == 0
    workspace.close()
    return int(outcome), answers


def test_a_stop_ends_the_call_between_completions(codes: Sample, segment: LoadedSegment) -> None:
    stop = np.zeros(1, np.int64)
    outcomes: list[tuple[int, Answers]] = []

    def body() -> None:
        faults = FaultTable([Fault(FaultKind.DELAY, 20_000, times=-1)])
        with Ring(256, faults) as ring:
            outcomes.append(search(codes, segment, ring, stop))

    worker = threading.Thread(target=body)
    worker.start()
    worker.join(0.1)
    stop[0] = 1
    worker.join()
    outcome, answers = outcomes[0]
    assert outcome == 0
    assert (answers.counts == UNANSWERED).any()


def test_a_full_ring_is_an_error_after_all_reads_have_ended(codes: Sample, segment: LoadedSegment) -> None:
    with Ring(8) as ring:
        outcome, answers = search(codes, segment, ring, np.zeros(1, np.int64))
    assert outcome == -errno.ENOBUFS
    assert (answers.counts == UNANSWERED).any()


def test_a_closed_ring_is_an_error(codes: Sample, segment: LoadedSegment) -> None:
    ring = Ring(256)
    ring.close()
    outcome, _ = search(codes, segment, ring, np.zeros(1, np.int64))
    assert outcome < 0
