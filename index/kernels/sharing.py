"""One device read for all queries of a worker that want a page at the same time.

The first that wants a page has it read into its own buffer: its read *leads*. Who wants the page before that
read has ended makes none: its read *follows*, and is done when the leading one is, whose result it gets and
whose bytes are copied. So each query has its pages in its own buffers, in its own order.

A read goes by its place, ``row * width + i`` for page ``i`` of the round of a row, which it has until it
ends. Reads that lead stand in a table by their keys, in chains: unlike open addressing those need no more
places than there are reads, so that the memory of a query does not depend on how many there are. A query
whose deadline passes follows no more, and passes its lead on: others do not wait for what has hung so long.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.state import N_PENDING, N_WANTED, P_PAGE_LAYOUT
from pageann.jit import kernel
from pageann.storage.memory import move_bytes

__all__ = ["end_read", "forget_reads", "lead_or_follow", "pass_on", "read_key", "stop_following"]


@kernel(forceinline=True)
def read_key(layout, page):  # type: ignore[no-untyped-def]
    """What tells pages of both files apart; above 0."""
    return 2 * page + (1 if layout == P_PAGE_LAYOUT else 2)


@kernel(forceinline=True)
def _chain_of(work, key):  # type: ignore[no-untyped-def]
    """Which of as many chains as there are places: the upper half of a product, scaled."""
    mixed = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return np.int64((mixed * np.uint64(work.read_chain.shape[0])) >> np.uint64(32))


@kernel
def _leader(work, key):  # type: ignore[no-untyped-def]
    """The read in flight that brings the page of ``key``; -1 where none does."""
    place = np.int64(work.read_table[_chain_of(work, key)]) - 1
    while place >= 0 and work.read_keys[place] != key:
        place = np.int64(work.read_chain[place]) - 1
    return place


@kernel
def _enter(work, place):  # type: ignore[no-untyped-def]
    """Let the read at ``place`` lead."""
    at = _chain_of(work, work.read_keys[place])
    work.read_chain[place] = work.read_table[at]
    work.read_table[at] = place + 1
    work.read_table[work.read_table.shape[0] - 1] += 1


@kernel
def _leave(work, place):  # type: ignore[no-untyped-def]
    """Let it lead no more; who follows it is not told."""
    at = _chain_of(work, work.read_keys[place])
    if work.read_table[at] == place + 1:
        work.read_table[at] = work.read_chain[place]
    else:
        before = np.int64(work.read_table[at]) - 1
        while work.read_chain[before] != place + 1:
            before = np.int64(work.read_chain[before]) - 1
        work.read_chain[before] = work.read_chain[place]
    work.read_table[work.read_table.shape[0] - 1] -= 1
    work.read_keys[place] = 0


@kernel
def forget_reads(work):  # type: ignore[no-untyped-def]
    """No query waits for any read."""
    for at in range(work.read_table.shape[0]):
        work.read_table[at] = 0


@kernel
def lead_or_follow(work, place, key):  # type: ignore[no-untyped-def]
    """Whether the read at ``place``, of the page of ``key``, leads: then it has to be made."""
    leader = _leader(work, key)
    work.read_keys[place] = key
    if leader >= 0:
        work.read_followers[place] = work.read_followers[leader]
        work.read_followers[leader] = place + 1
        return False
    work.read_followers[place] = 0
    _enter(work, place)
    return True


@kernel
def end_read(work, place, result, page_bytes):  # type: ignore[no-untyped-def]
    """The read at ``place``, which leads, has ended: its result, and a whole page, for all that follow too.

    Their rows lack one read less. The list of them stays until the rounds of their rows are done.
    """
    _leave(work, place)
    width = work.wanted.shape[1]
    source = work.wanted_addresses[place // width, place % width]
    ended = np.int64(place)
    while ended >= 0:
        slot, i = ended // width, ended % width
        if ended != place and result == page_bytes:
            move_bytes(work.wanted_addresses[slot, i], source, page_bytes)
        work.wanted_results[slot, i] = result
        work.counters[slot, N_PENDING] -= 1
        work.read_keys[ended] = 0
        ended = np.int64(work.read_followers[ended]) - 1


@kernel
def stop_following(work, slot):  # type: ignore[no-untyped-def]
    """Have row ``slot`` follow no read; how many of its own are in flight."""
    width = work.wanted.shape[1]
    leading = 0
    for place in range(slot * width, slot * width + work.counters[slot, N_WANTED]):
        if work.read_keys[place] == 0:
            continue
        before = _leader(work, work.read_keys[place])
        if before == place:
            leading += 1
            continue
        while work.read_followers[before] != place + 1:
            before = np.int64(work.read_followers[before]) - 1
        work.read_followers[before] = work.read_followers[place]
        work.read_keys[place] = 0
    return leading


@kernel
def pass_on(work, place):  # type: ignore[no-untyped-def]
    """Have the read at ``place`` lead no more; the one that leads in its stead, and has to be made, or -1."""
    _leave(work, place)
    heir = np.int64(work.read_followers[place]) - 1
    if heir >= 0:  # whose next is the first that follows it now
        _enter(work, heir)
    return heir
