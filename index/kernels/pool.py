"""The bounded sorted lists of a search: candidates by estimate, results by exact distance."""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel
from pageann.storage.memory import move_bytes

__all__ = ["holds_result", "insert_candidate", "insert_result", "place_of", "select_smallest"]


@kernel(forceinline=True)
def place_of(scores, slots, count, score, slot):  # type: ignore[no-untyped-def]
    """The first place of a list sorted by (score, slot) that is not before this candidate."""
    low = np.uint64(0)
    left = np.uint64(count)
    while left > np.uint64(0):  # without a branch that depends on the scores, since none could be foreseen
        half = (left + np.uint64(1)) >> np.uint64(1)
        if scores[low + half - np.uint64(1)] < score:
            low += half
        left -= half
    place = np.int64(low)
    while place < count and scores[place] == score and slots[place] < slot:
        place += 1
    return place


@kernel(forceinline=True)
def _open_gap(array, place, count):  # type: ignore[no-untyped-def]
    """Move ``array[place:count]`` up by one."""
    address = np.int64(array.ctypes.data) + place * array.itemsize
    move_bytes(address + array.itemsize, address, (count - place) * array.itemsize)


@kernel
def insert_candidate(scores, slots, states, count, score, slot, state):  # type: ignore[no-untyped-def]
    """Insert into a list sorted by (score, slot), dropping the last when full; returns the new count.

    ``scores`` float32, ``slots`` int64, ``states`` uint8, all of the list's capacity.
    """
    capacity = scores.shape[0]
    if count == capacity:
        if score > scores[count - 1] or (score == scores[count - 1] and slot >= slots[count - 1]):
            return count
        count -= 1
    low = place_of(scores, slots, count, score, slot)
    _open_gap(scores, low, count)
    _open_gap(slots, low, count)
    _open_gap(states, low, count)
    scores[low] = score
    slots[low] = slot
    states[low] = state
    return count + 1


@kernel
def insert_result(distances, rows, slots, count, distance, row, slot):  # type: ignore[no-untyped-def]
    """Insert into results sorted by (distance, row); returns the new count. ``distances`` float64."""
    capacity = distances.shape[0]
    if count == capacity:
        if distance > distances[count - 1] or (distance == distances[count - 1] and row >= rows[count - 1]):
            return count
        count -= 1
    at = count
    while at > 0 and (distances[at - 1] > distance or (distances[at - 1] == distance and rows[at - 1] > row)):
        distances[at] = distances[at - 1]
        rows[at] = rows[at - 1]
        slots[at] = slots[at - 1]
        at -= 1
    distances[at] = distance
    rows[at] = row
    slots[at] = slot
    return count + 1


@kernel
def holds_result(distances, rows, count, distance, row):  # type: ignore[no-untyped-def]
    """Whether ``row`` is among the results, where it must stand at ``distance``."""
    at = count - 1
    while at >= 0 and distances[at] >= distance:
        if rows[at] == row:
            return True
        at -= 1
    return False


@kernel
def select_smallest(keys, values, count, rank):  # type: ignore[no-untyped-def]
    """Move the ``rank`` smallest of ``keys[:count]`` (with their ``values``) to the front, unsorted."""
    if rank >= count or rank <= 0:
        return
    first = 0
    last = count - 1
    target = rank - 1
    while first < last:
        a, b, c = keys[first], keys[(first + last) >> 1], keys[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i = first
        j = last
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            last = j
        elif target >= i:
            first = i
        else:
            return
