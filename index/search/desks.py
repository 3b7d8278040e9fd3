"""Where one worker sits: the memory of its queries in flight, and its way to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from pageann.errors import StorageError
from pageann.index.kernels.state import (
    FLOW_LAST,
    LAYOUT_FD,
    P_EXACT_LAYOUT,
    P_PAGE_LAYOUT,
    P_RERANK,
    Resident,
)
from pageann.index.kernels.uring_search import search_over_ring, take_late_reads
from pageann.index.search.part import Part, TurnOver, nothing_more
from pageann.index.search.rounds import ReadBatch, search_blocking
from pageann.index.search.turns import Turns
from pageann.index.search.workspace import Workspace, WorkspaceFacts, WorkspaceSize
from pageann.storage.io.contract import ReadDriver
from pageann.storage.io.faults import Fault, FaultTable
from pageann.storage.io.libc import error_name
from pageann.storage.io.ring import ENTRIES_MAX, Ring
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT, MEMORY_END

__all__ = ["BatchDesk", "Desk", "DeskMemory", "RingDesk"]

REGISTERS = True
"""Whether rings are told of the files they read, and in long jobs of the page buffers: the kernel then looks
up neither the file nor the pages of memory anew for each read."""
_QUERIES_WORTH_REGISTERING = 64
"""A job of more has its buffers registered, which takes the kernel some time for each page of memory."""

_lost: list[tuple[Ring, Workspace]] = []
"""Rings in trouble that still had reads in flight: their buffers may be written to for ever."""


class Desk(Protocol):
    """What a worker thread needs; made and used on that thread only."""

    def search(self, part: Part, turn_over: TurnOver = nothing_more) -> None:
        """Answer a part, and what joins it. Only reads that :meth:`settle` takes are in flight afterwards."""
        ...

    def settle(self) -> bool:
        """Whether no read is in flight; those that hang may be, though their queries have ended."""
        ...

    def close(self) -> None:
        """Free memory and rings."""
        ...


class DeskMemory:
    """The memory of a worker's queries, kept from call to call while their size stays the same.

    A call that needs more than ``scratch_bytes`` takes the turns of all other workers, and their memory.
    """

    def __init__(
        self, resident: Resident, slots: int, scratch_bytes: int = 0, turns: Turns | None = None
    ) -> None:
        self._resident = resident
        self._slots = slots
        self._scratch_bytes = scratch_bytes
        self._workspace: Workspace | None = None
        self._batch: ReadBatch | None = None
        self._turns = turns or Turns()
        self._turns.keep(self.close)

    @contextmanager
    def turn(self, size: WorkspaceSize) -> Iterator[Workspace]:
        """Memory for queries of ``size`` while the block lasts."""
        if not self.is_beyond_share(size):
            with self._turns.shared():
                yield self.workspace(size)
            return
        with self._turns.alone():
            try:
                yield self.workspace(size)
            finally:
                self.close()

    @property
    def is_awaited(self) -> bool:
        """Whether a call waits for the memory of all workers."""
        return self._turns.awaited

    def is_beyond_share(self, size: WorkspaceSize) -> bool:
        """Whether queries of ``size`` need the memory of other workers too, which they give back."""
        kept = self._workspace  # another thread may free it
        if kept is not None and kept.size == size:
            return False  # what is beyond the share is not kept
        facts = WorkspaceFacts.of_parameters(self._resident.parameters)
        return 0 < self._scratch_bytes < facts.bytes(1, size)

    def workspace(self, size: WorkspaceSize) -> Workspace:
        """Memory for queries of ``size``; that of another size is freed."""
        if self._workspace is None or self._workspace.size != size:
            self.close()
            slots = max(1, min(self._slots, ENTRIES_MAX // size.width, self._fitting(size)))
            self._workspace = Workspace(self._resident, slots, size)
        return self._workspace

    @property
    def held_bytes(self) -> int:
        """Bytes of the workspace that is kept."""
        return self._workspace.bytes if self._workspace is not None else 0

    def _fitting(self, size: WorkspaceSize) -> int:
        """How many queries of ``size`` the scratch holds; all where it has no limit."""
        if self._scratch_bytes == 0:
            return self._slots
        facts = WorkspaceFacts.of_parameters(self._resident.parameters)
        shared = facts.bytes(0, size)
        return (self._scratch_bytes - shared) // (facts.bytes(1, size) - shared)

    def batch(self, workspace: Workspace) -> ReadBatch:
        """Room for the reads of one round of all queries of ``workspace``."""
        if self._batch is None:
            self._batch = ReadBatch(workspace.slots, workspace.size.width)
        return self._batch

    def close(self) -> None:
        """Free it all."""
        workspace, self._workspace, self._batch = self._workspace, None, None
        if workspace is not None:
            workspace.close()

    def give_up(self) -> Workspace | None:
        """Hand over the workspace: it is not this worker's any more, nor freed."""
        workspace, self._workspace, self._batch = self._workspace, None, None
        return workspace


class RingDesk:
    """Searches over an io_uring of its own."""

    def __init__(
        self,
        resident: Resident,
        slots: int,
        faults: Sequence[Fault] = (),
        scratch_bytes: int = 0,
        turns: Turns | None = None,
    ) -> None:
        self._resident = resident
        self._memory = DeskMemory(resident, slots, scratch_bytes, turns)
        self._faults = FaultTable(faults)
        self._ring: Ring | None = None
        self._may_register = REGISTERS
        """Until the kernel refuses, which it would do again: for want of memory that may be locked, say."""
        self._late: tuple[Workspace, ExitStack] | None = None
        """Memory that reads are in flight into, for queries that have ended, and the turn at it."""

    def _ring_of(self, entries: int) -> Ring:
        """A ring of at least so many places."""
        if self._ring is None or self._ring.entries < entries:
            self._close_ring()
            self._ring = Ring(entries, self._faults)
            if REGISTERS:
                self._ring.register_files(files_read(self._resident))
        return self._ring

    def _close_ring(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def search(self, part: Part, turn_over: TurnOver = nothing_more) -> None:
        """Answer a part, and what joins it; StorageError when the ring itself is in trouble."""
        size = part.options.size
        if self._late is not None and self._late[0].size != size:
            self._take_late_reads(wait=True)
        late, self._late = self._late, None
        held = late[1] if late else ExitStack()
        keeps = late is not None or not self._memory.is_beyond_share(size)
        with held:
            workspace = late[0] if late else held.enter_context(self._memory.turn(size))
            try:
                self._search(part, workspace, held, turn_over)
            except BaseException:
                keeps = False  # there may be queries in flight
                raise
            finally:
                if self._ring is not None and self._ring.state[IN_FLIGHT_COUNT] > 0:
                    self._late = workspace, held.pop_all()
                    self._take_late_reads(wait=not keeps or self._memory.is_awaited)

    def settle(self) -> bool:
        """Whether no read is in flight; waits for it if others wait for the memory."""
        if self._late is not None:
            self._take_late_reads(wait=self._memory.is_awaited)
        return self._late is None

    def _take_late_reads(self, wait: bool) -> None:
        """Take reads whose queries have ended without them; the memory is kept until none is in flight."""
        assert self._late is not None
        assert self._ring is not None
        workspace, held = self._late
        left = take_late_reads(workspace.work, self._ring.state, wait)
        if left > 0:
            return
        if left < 0:
            self._abandon(self._ring)
        self._late = None
        held.close()

    def _search(self, part: Part, workspace: Workspace, held: ExitStack, turn_over: TurnOver) -> None:
        part.options.write(workspace.work.call)
        # A delayed read takes two places; more than ENTRIES_MAX no queue needs, since its owner submits.
        places = (2 if len(self._faults) else 1) * workspace.slots * workspace.size.width
        ring = self._ring_of(min(places, ENTRIES_MAX))
        goes_on = True
        while goes_on:
            part.pace(workspace.slots)
            if self._may_register and part.asked.flow[FLOW_LAST] > _QUERIES_WORTH_REGISTERING:
                self._register(ring, workspace, held)
            outcome = search_over_ring(self._resident, workspace.work, ring.state, part.asked)
            goes_on = turn_over(outcome == 0 and not self._memory.is_awaited)
            self._require_sound(ring, outcome)

    def _register(self, ring: Ring, workspace: Workspace, held: ExitStack) -> None:
        """Read into registered memory while the turn lasts.

        No longer: afterwards any thread may free it, and only this one can have the kernel let go of it.
        """
        if ring.state[MEMORY_END] == 0:
            self._may_register = ring.register_memory(*workspace.buffer_span)
            if self._may_register:
                held.callback(ring.unregister_memory)

    def _require_sound(self, ring: Ring, outcome: int) -> None:
        """Raise StorageError where a kernel reports trouble of the ring, which is then not used again."""
        if outcome < 0:
            self._abandon(ring)
            raise StorageError(
                f"io_uring_enter: {error_name(-outcome)}; try again, or open the index with io='threads'",
                -outcome,
            )

    def _abandon(self, ring: Ring) -> None:
        """Part with a ring in trouble; with the memory too if reads are still in flight into it."""
        self._ring = None
        if ring.state[IN_FLIGHT_COUNT] == 0:
            ring.close()
        elif (workspace := self._memory.give_up()) is not None:
            _lost.append((ring, workspace))

    def close(self) -> None:
        """Free memory and ring, once the device is done with them."""
        if self._late is not None:
            self._take_late_reads(wait=True)
        self._close_ring()
        self._memory.close()


def files_read(resident: Resident) -> list[int]:
    """Descriptors of the files that searches read."""
    layouts = [P_PAGE_LAYOUT, P_EXACT_LAYOUT] if resident.parameters[P_RERANK] else [P_PAGE_LAYOUT]
    return [int(resident.parameters[layout + LAYOUT_FD]) for layout in layouts]


class BatchDesk:
    """Searches over a driver that reads in batches, which it shares with other desks."""

    def __init__(
        self,
        resident: Resident,
        slots: int,
        driver: ReadDriver,
        scratch_bytes: int = 0,
        turns: Turns | None = None,
    ) -> None:
        self._resident = resident
        self._memory = DeskMemory(resident, slots, scratch_bytes, turns)
        self._driver = driver

    def search(self, part: Part, turn_over: TurnOver = nothing_more) -> None:
        """Answer a part, and what joins it."""
        memory = self._memory
        with memory.turn(part.options.size) as workspace:
            part.options.write(workspace.work.call)
            search_blocking(
                self._resident, workspace, memory.batch(workspace), part, self._driver,
                lambda: turn_over(not memory.is_awaited),
            )  # fmt: skip

    def settle(self) -> bool:
        """Reads are waited for."""
        return True

    def close(self) -> None:
        """Free the memory; the driver is its owner's."""
        self._memory.close()
