"""Queries in flight from one batch of reads to the next, for drivers that read in batches."""

from __future__ import annotations

from pageann.index.kernels.flight import (
    heed_deadline,
    layout_of_round,
    settle_query,
    store_answer,
)
from pageann.index.kernels.state import LAYOUT_FD, LAYOUT_PAGE_BYTES, N_WANTED, PINNED
from pageann.index.kernels.step import absorb_round, start_query
from pageann.jit import kernel

__all__ = ["PROGRESS_COUNT", "PROGRESS_LAST", "PROGRESS_NEXT", "advance_rounds"]

PROGRESS_NEXT, PROGRESS_LAST = 0, 1
"""Positions in ``progress``: the query to begin next, and the one behind the last."""
PROGRESS_COUNT = 2


@kernel
def _take_results(work, slot, results, at):  # type: ignore[no-untyped-def]
    """Note the results of the slot's reads, which begin at ``at``; returns where they end."""
    for i in range(work.counters[slot, N_WANTED]):
        if work.wanted_results[slot, i] != PINNED:
            work.wanted_results[slot, i] = results[at]
            at += 1
    return at


@kernel
def _ask(resident, work, slot, fds, offsets, sizes, addresses, at):  # type: ignore[no-untyped-def]
    """Append the reads of the slot's round at ``at``; returns the new end."""
    layout = layout_of_round(work, slot)
    page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
    for i in range(work.counters[slot, N_WANTED]):
        if work.wanted_results[slot, i] != PINNED:
            fds[at] = resident.parameters[layout + LAYOUT_FD]
            offsets[at] = (work.wanted[slot, i] + 1) * page_bytes
            sizes[at] = page_bytes
            addresses[at] = work.wanted_addresses[slot, i]
            at += 1
    return at


@kernel
def advance_rounds(  # type: ignore[no-untyped-def]
    resident, work, queries, excluded, progress, waiting, fds, offsets, sizes, addresses, results,
    rows, distances, slots, counts, counters, stop,
):  # fmt: skip
    """Absorb what the last batch brought, begin queries in free slots; returns the reads of the next batch.

    ``waiting`` int64 (slots,): whether the slot's reads are in the batch; ``progress`` int64 (2,),
    see PROGRESS_NEXT. 0 reads: all queries are answered, or ``stop[0]`` is set; those not answered
    then have a count of -1. The rest as in ``search_over_ring``.
    """
    if stop[0] != 0:
        return 0
    taken = 0
    wanted = 0
    for slot in range(waiting.shape[0]):
        if waiting[slot] != 0:
            taken = _take_results(work, slot, results, taken)
            heed_deadline(work, slot, counters)
            absorb_round(resident, work, slot)
            if settle_query(resident, work, slot):
                store_answer(work, slot, rows, distances, slots, counts, counters)
                waiting[slot] = 0
    for slot in range(waiting.shape[0]):
        while waiting[slot] == 0 and progress[PROGRESS_NEXT] < progress[PROGRESS_LAST]:
            start_query(resident, work, slot, progress[PROGRESS_NEXT], queries, excluded, counters)
            progress[PROGRESS_NEXT] += 1
            if settle_query(resident, work, slot):
                store_answer(work, slot, rows, distances, slots, counts, counters)
            else:
                waiting[slot] = 1
        if waiting[slot] != 0:
            wanted = _ask(resident, work, slot, fds, offsets, sizes, addresses, wanted)
    return wanted
