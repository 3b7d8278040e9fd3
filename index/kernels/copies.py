"""Vectors that lie on two pages: which of the two a round asks for.

``Resident.copy_places`` has a number of ``P_COPY_BYTES`` bytes for each slot: 0 where its vector lies on its
own page only, else one more than the page of copies that has it too, counted from the first page behind those
of the slots. Of the two pages of the best candidate that is left that one is read which brings more of the
candidates.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.candidates import is_visited
from pageann.index.kernels.state import (
    EXACT,
    LAYOUT_CAPACITY,
    N_POOL,
    P_COPY_BYTES,
    P_PAGE_COUNT,
    P_PAGE_LAYOUT,
)
from pageann.jit import kernel
from pageann.storage.memory import load_u32

__all__ = ["cover_candidates", "forget_visited", "fuller_page", "page_of_copy", "weigh_candidates"]

_AHEAD = np.float32(3)
"""Typical errors beyond the limit up to which candidates count, since the limit moves."""
_AHEAD_WEIGHT = np.float32(0.5)
"""What one just beyond the limit counts, where one within counts 1."""


@kernel
def page_of_copy(resident, candidate):  # type: ignore[no-untyped-def]
    """The page of copies that has the vector of slot ``candidate`` too; -1 where none is known to."""
    parameters = resident.parameters
    width = parameters[P_COPY_BYTES]
    if width == 0:
        return np.int64(-1)
    stored = np.int64(load_u32(np.int64(resident.copy_places.ctypes.data) + width * candidate))
    number = stored & ((np.int64(1) << (8 * width)) - 1)
    return np.int64(-1) if number == 0 else parameters[P_PAGE_COUNT] + number - 1


@kernel
def weigh_candidates(resident, work, slot, limit, typical):  # type: ignore[no-untyped-def]
    """Find both pages of the candidates up to ``limit`` and a little beyond; how many those are.

    They are weighed too: 1 up to the limit, less beyond. What is pinned makes no difference: answers, and the
    recall of an effort, must not depend on it.
    """
    parameters = resident.parameters
    capacity = parameters[P_PAGE_LAYOUT + LAYOUT_CAPACITY]
    scores, slots, states = work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot]
    pages, weights = work.pool_pages, work.pool_weights
    count = work.counters[slot, N_POOL]
    for i in range(count):
        weights[i] = 0
        if states[i] == EXACT:
            continue
        beyond = np.float32(0)
        if scores[i] > limit:
            beyond = (scores[i] - limit) / (_AHEAD * typical)
            if not beyond < 1:
                return i
            beyond = np.float32(1) - _AHEAD_WEIGHT * (np.float32(1) - beyond)
        weights[i] = np.float32(1) - beyond
        page = slots[i] // capacity
        pages[0, i] = page
        pages[1, i] = page_of_copy(resident, slots[i])
    return count


@kernel
def fuller_page(work, at, last):  # type: ignore[no-untyped-def]
    """Of the two pages of candidate ``at`` the one that weighs more, with all candidates before ``last``."""
    pages, weights = work.pool_pages, work.pool_weights
    own, other = pages[0, at], pages[1, at]
    if other < 0:
        return own
    own_weight, other_weight = np.float32(0), np.float32(0)
    for i in range(at, last):
        if weights[i] > 0:
            if pages[0, i] == own:
                own_weight += weights[i]
            if pages[1, i] == other:
                other_weight += weights[i]
    return other if other_weight > own_weight else own


@kernel
def cover_candidates(work, at, last, page):  # type: ignore[no-untyped-def]
    """Candidates that ``page`` brings are worth no other read."""
    pages, weights = work.pool_pages, work.pool_weights
    for i in range(at, last):
        if weights[i] > 0 and (pages[0, i] == page or pages[1, i] == page):
            weights[i] = 0


@kernel
def forget_visited(resident, work, slot):  # type: ignore[no-untyped-def]
    """Drop the estimates of vectors on any page that was asked for: they are about to be known exactly."""
    capacity = resident.parameters[P_PAGE_LAYOUT + LAYOUT_CAPACITY]
    scores, slots, states = work.pool_scores[slot], work.pool_slots[slot], work.pool_states[slot]
    kept = 0
    for i in range(work.counters[slot, N_POOL]):
        if states[i] != EXACT:
            if is_visited(work, slot, slots[i] // capacity):
                continue
            other = page_of_copy(resident, slots[i])
            if other >= 0 and is_visited(work, slot, other):
                continue
        if kept != i:
            scores[kept] = scores[i]
            slots[kept] = slots[i]
            states[kept] = states[i]
        kept += 1
    work.counters[slot, N_POOL] = kept
