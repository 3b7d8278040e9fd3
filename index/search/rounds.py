"""Run queries over a driver that reads in batches, be it one that blocks or one that is awaited."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pageann.index.kernels.rounds import advance_rounds
from pageann.index.kernels.state import FLOW_ENDED, FLOW_ENOUGH, Resident
from pageann.index.search.part import Part
from pageann.index.search.workspace import Workspace
from pageann.storage.io.contract import AsyncReadDriver, Int32s, Int64s, ReadDriver

__all__ = ["ReadBatch", "search_awaiting", "search_blocking"]

Reads = tuple[Int32s, Int64s, Int32s, Int64s, Int32s]


class ReadBatch:
    """Room for the reads of one round of all queries in flight."""

    def __init__(self, slots: int, width: int) -> None:
        most = slots * width
        self.fds = np.empty(most, np.int32)
        self.offsets = np.empty(most, np.int64)
        self.sizes = np.empty(most, np.int32)
        self.addresses = np.empty(most, np.int64)
        self.results = np.empty(most, np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.fds, self.offsets, self.sizes, self.addresses, self.results)
        return sum(array.nbytes for array in arrays)

    def first(self, count: int) -> Reads:
        """The first ``count`` reads, as drivers take them."""
        return (
            self.fds[:count],
            self.offsets[:count],
            self.sizes[:count],
            self.addresses[:count],
            self.results[:count],
        )


class _Rounds:
    """The queries of a part, between one batch of reads and the next."""

    def __init__(self, resident: Resident, workspace: Workspace, batch: ReadBatch, part: Part) -> None:
        self._resident = resident
        self._work = workspace.work
        self._batch = batch
        self._part = part
        self._waiting = np.zeros(workspace.slots, np.int64)

    @property
    def has_enough(self) -> bool:
        """Whether so many queries have ended that their answers should be handed out."""
        self._part.pace(len(self._waiting))
        flow = self._part.asked.flow
        return bool(flow[FLOW_ENDED] >= flow[FLOW_ENOUGH])

    def advance(self) -> Reads | None:
        """Take in the last batch, if any; the next one, or None when there is nothing left to read."""
        batch = self._batch
        count = advance_rounds(
            self._resident, self._work, self._part.asked, self._waiting,
            batch.fds, batch.offsets, batch.sizes, batch.addresses, batch.results,
        )  # fmt: skip
        return batch.first(count) if count else None


def search_blocking(
    resident: Resident,
    workspace: Workspace,
    batch: ReadBatch,
    part: Part,
    driver: ReadDriver,
    turn_over: Callable[[], bool],
) -> None:
    """Answer a part; no read is in flight afterwards, also when the driver raises."""
    rounds = _Rounds(resident, workspace, batch, part)
    goes_on = True
    while goes_on:
        reads = rounds.advance()
        if reads is None or rounds.has_enough:
            goes_on = turn_over()
        if reads is not None:
            driver.read_batch(*reads)
            goes_on = True


async def search_awaiting(
    resident: Resident, workspace: Workspace, batch: ReadBatch, part: Part, driver: AsyncReadDriver
) -> None:
    """The same, awaiting the reads."""
    rounds = _Rounds(resident, workspace, batch, part)
    while (reads := rounds.advance()) is not None:
        await driver.read_batch(*reads)
