"""A query whose caller has gone reads no further than its round, though others of its job go on."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pageann.index.kernels.state import GONE, N_DEADLINE_NS, N_HOPS
from pageann.index.search.answers import Answers
from pageann.index.search.desks import BatchDesk, Desk, RingDesk
from pageann.index.search.load import LoadedSegment
from pageann.index.search.part import Part
from pageann.index.search.rounds import ReadBatch, search_blocking
from pageann.index.search.workspace import Workspace
from pageann.storage.io.contract import Int32s, Int64s
from pageann.storage.io.faults import Fault, FaultKind, FaultTable
from pageann.storage.io.threads import ThreadsDriver
from tests.index.search.engines import Sample


class _Leaving(ThreadsDriver):
    """Reads, and has one query given up during the first batch."""

    def __init__(self, answers: Answers, query: int) -> None:
        super().__init__(2)
        self._answers, self._query = answers, query

    def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        self._answers.counters[self._query, N_DEADLINE_NS] = GONE
        super().read_batch(fds, offsets, sizes, addresses, results)


def part_of(sample: Sample, queries: int) -> Part:
    """The first queries of a sample, to be searched as widely as can be."""
    options = sample.whole()
    excluded = np.full(queries, -1, np.int64)
    answers = Answers.unanswered(queries, options.size.k)
    return Part.of(
        sample.asked[:queries], options, excluded, answers, np.arange(queries), np.zeros(1, np.int64)
    )


def search(part: Part, segment: LoadedSegment, driver: ThreadsDriver) -> None:
    """Search with all queries in flight at once."""
    workspace = Workspace(segment.resident, len(part.asked.order), part.options.size)
    part.options.write(workspace.work.call)
    batch = ReadBatch(workspace.slots, workspace.size.width)
    try:
        search_blocking(segment.resident, workspace, batch, part, driver, lambda: False)
    finally:
        workspace.close()
        driver.close()


def test_in_flight(codes: Sample, segment: LoadedSegment) -> None:
    part = part_of(codes, 3)
    search(part, segment, _Leaving(part.answers, 1))
    hops = part.answers.counters[:, N_HOPS]
    assert hops[1] == 1
    assert min(hops[0], hops[2]) > 1


def test_not_begun(codes: Sample, segment: LoadedSegment) -> None:
    part = part_of(codes, 3)
    part.answers.counters[1, N_DEADLINE_NS] = GONE
    search(part, segment, ThreadsDriver(2))
    hops = part.answers.counters[:, N_HOPS]
    assert hops[1] == 0
    assert min(hops[0], hops[2]) > 1


def test_in_flight_at_every_desk(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    part = part_of(codes, 3)
    faults = [Fault(FaultKind.DELAY, 20_000, times=-1)]
    reader = ThreadsDriver(4, FaultTable(faults))
    desk: Desk
    if driver == "uring":
        desk = RingDesk(segment.resident, 4, faults)
    elif driver == "threads":
        desk = BatchDesk(segment.resident, 4, reader)
    else:
        reader.close()
        pytest.skip("coroutines of the aio driver are cancelled themselves")
    searching = threading.Thread(target=desk.search, args=(part,))
    searching.start()
    part.answers.counters[1, N_DEADLINE_NS] = GONE  # before its first reads have come, 20 ms later
    searching.join()
    desk.close()
    reader.close()
    hops = part.answers.counters[:, N_HOPS]
    assert hops[1] <= 1
    assert min(hops[0], hops[2]) > 1
