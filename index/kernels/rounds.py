"""Queries in flight from one batch of reads to the next, for drivers that read in batches."""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.flight import begin_query, go_on_with, layout_of_round, unbegun
from pageann.index.kernels.sharing import end_read, forget_reads, lead_or_follow, read_key
from pageann.index.kernels.state import (
    LAYOUT_FD,
    LAYOUT_PAGE_BYTES,
    N_DEVICE_READS,
    N_PENDING,
    N_SHARED,
    N_WANTED,
    PINNED,
)
from pageann.jit import kernel

__all__ = ["advance_rounds"]


@kernel
def _take_results(resident, work, slot, results, at):  # type: ignore[no-untyped-def]
    """Note the results of the slot's reads, which begin at ``at``; returns where they end."""
    page_bytes = resident.parameters[layout_of_round(work, slot) + LAYOUT_PAGE_BYTES]
    for i in range(work.counters[slot, N_WANTED]):
        place = slot * work.wanted.shape[1] + i
        if work.read_keys[place] != 0:  # else pinned, or brought by the read of a slot before
            end_read(work, place, np.int64(results[at]), page_bytes)
            at += 1
    return at


@kernel
def _ask(resident, work, slot, fds, offsets, sizes, addresses, at):  # type: ignore[no-untyped-def]
    """Append the reads of the slot's round at ``at``, but those of slots before; returns the new end."""
    work.counters[slot, N_PENDING] = work.counters[slot, N_DEVICE_READS]
    layout = layout_of_round(work, slot)
    page_bytes = resident.parameters[layout + LAYOUT_PAGE_BYTES]
    for i in range(work.counters[slot, N_WANTED]):
        place = slot * work.wanted.shape[1] + i
        work.read_keys[place] = 0
        if work.wanted_results[slot, i] == PINNED:
            continue
        if not lead_or_follow(work, place, read_key(layout, work.wanted[slot, i])):
            work.counters[slot, N_SHARED] += 1
            continue
        fds[at] = resident.parameters[layout + LAYOUT_FD]
        offsets[at] = (work.wanted[slot, i] + 1) * page_bytes
        sizes[at] = page_bytes
        addresses[at] = work.wanted_addresses[slot, i]
        at += 1
    return at


@kernel
def advance_rounds(  # type: ignore[no-untyped-def]
    resident, work, asked, waiting, fds, offsets, sizes, addresses, results
):
    """Absorb what the last batch brought, begin queries in free slots; returns the reads of the next batch.

    ``waiting`` int64 (slots,): whether the slot's reads are in the batch; none is before the first. 0 reads:
    all queries are answered, or ``asked.stop`` is set; those not answered then have a count of -1. A page
    that several queries want at a time is read once.
    """
    if asked.stop[0] != 0:
        return 0
    taken = 0
    wanted = 0
    for slot in range(waiting.shape[0]):
        if waiting[slot] != 0:
            taken = _take_results(resident, work, slot, results, taken)
    if taken == 0:
        forget_reads(work)  # of a part that was not brought to its end
    for slot in range(waiting.shape[0]):
        if waiting[slot] != 0 and go_on_with(resident, work, slot, asked):
            waiting[slot] = 0
    for slot in range(waiting.shape[0]):
        while waiting[slot] == 0 and unbegun(asked) > 0:
            if not begin_query(resident, work, slot, asked):
                waiting[slot] = 1
        if waiting[slot] != 0:
            wanted = _ask(resident, work, slot, fds, offsets, sizes, addresses, wanted)
    return wanted
