"""Neighbour lists that also name the vectors whose lists a vector is on."""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["mix_lists", "note_reverse"]


@kernel
def note_reverse(neighbours, first, last, reverse, ranks, counts):  # type: ignore[no-untyped-def]
    """Note the rows ``[first, last)`` with those that their lists name, best rank first, then by row.

    ``neighbours`` int32 (n, m), -1 behind the last; ``reverse`` int32 and ``ranks`` uint8 (n, any)
    receive who names a row and at which rank, ``counts`` uint8 (n,) how many are kept. Rows are to be
    noted in ascending order.
    """
    width = reverse.shape[1]
    for row in range(first, last):
        for rank in range(neighbours.shape[1]):
            named = neighbours[row, rank]
            if named < 0:
                break
            count = np.int64(counts[named])
            if count == width:
                if rank >= ranks[named, width - 1]:
                    continue
                count -= 1
            at = count
            while at > 0 and ranks[named, at - 1] > rank:
                ranks[named, at] = ranks[named, at - 1]
                reverse[named, at] = reverse[named, at - 1]
                at -= 1
            ranks[named, at] = rank
            reverse[named, at] = row
            counts[named] = count + 1


@kernel
def mix_lists(neighbours, reverse, ranks, counts, first, last, mixed):  # type: ignore[no-untyped-def]
    """Merge the lists of the rows ``[first, last)`` with those who name them, by rank, into ``mixed``.

    Of one rank a row's own neighbour comes first; nothing comes twice; -1 behind the last.
    """
    own_width, width = neighbours.shape[1], mixed.shape[1]
    for row in range(first, last):
        count, i, j = 0, 0, 0
        while count < width:
            has_own = i < own_width and neighbours[row, i] >= 0
            has_other = j < counts[row]
            if has_own and (not has_other or i <= ranks[row, j]):
                found = neighbours[row, i]
                i += 1
            elif has_other:
                found = reverse[row, j]
                j += 1
            else:
                break
            known = False
            for k in range(count):
                known = known or mixed[row, k] == found
            if not known:
                mixed[row, count] = found
                count += 1
        for k in range(count, width):
            mixed[row, k] = -1
