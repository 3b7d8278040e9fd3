"""The smallest of many scores, in order: by counting them in bins, since their range is known.

One pass finds the range, one counts, one puts each key of the smaller bins in its place; what is left
to sort lies at most a bin away from where it belongs.
"""

from __future__ import annotations

import numpy as np

from pageann.jit import kernel

__all__ = ["BINS", "rank_smallest"]

BINS = 1024
_CROWDED = 32
"""Keys of one bin from which a second look at a narrower range pays."""
_LOOKS_MOST = 4


@kernel
def _bin_of(key, low, scale):  # type: ignore[no-untyped-def]
    """Monotone in ``key``, which may be infinite."""
    place = (key - low) * scale
    if place < np.float32(BINS - 1):
        return np.int64(place)
    return np.int64(BINS - 1)


@kernel
def _range(keys, count):  # type: ignore[no-untyped-def]
    """(least, largest that is finite); the same twice where there is none."""
    low = np.float32(np.inf)
    high = np.float32(-np.inf)
    for i in range(count):
        key = keys[i]
        low = min(low, key)
        if key < np.float32(np.inf):
            high = max(high, key)
    return low, max(low, high)


@kernel
def _divide(keys, count, kept, bins):  # type: ignore[no-untyped-def]
    """Count keys in bins; (low, scale, bin of the key of rank ``kept``, keys in the bins before it)."""
    low, high = _range(keys, count)
    scale = np.float32(0)
    last = np.int64(0)
    before = np.int64(0)
    for _ in range(_LOOKS_MOST):
        if high > low:
            scale = np.float32(BINS) / (high - low)
        if not scale < np.float32(np.inf):
            scale = np.float32(0)
        for b in range(BINS):
            bins[b] = 0
        for i in range(count):
            bins[_bin_of(keys[i], low, scale)] += 1
        last = np.int64(0)
        before = np.int64(0)
        while before + bins[last] < kept:
            before += bins[last]
            last += 1
        if bins[last] < _CROWDED or scale == np.float32(0):
            break
        high = low + np.float32(last + 1) / scale
    return low, scale, last, before


@kernel
def rank_smallest(keys, count, kept, bins, out_keys, out_places):  # type: ignore[no-untyped-def]
    """The ``kept`` <= ``count`` smallest of ``keys[:count]``, ascending, with their places.

    Equal keys stand in the order of their places. ``keys`` and ``out_keys`` float32, ``out_places``
    int32, ``bins`` int32 (BINS,) scratch. Keys may be infinite but not NaN.
    """
    if kept <= 0:
        return
    low, scale, last, before = _divide(keys, count, kept, bins)
    start = np.int32(0)
    for b in range(last + 1):
        size = bins[b]
        bins[b] = start
        start += size
    filled = before
    # Most keys lie beyond the last bin, surely where they are half a bin beyond it.
    beyond = np.float32(np.inf)
    if scale > np.float32(0) and last < BINS - 1:
        beyond = low + (np.float32(last) + np.float32(1.5)) / scale
    for i in range(count):
        key = keys[i]
        if key > beyond:
            continue
        b = _bin_of(key, low, scale)
        if b < last:
            at = np.int64(bins[b])
            bins[b] += np.int32(1)
            out_keys[at] = key
            out_places[at] = i
        elif b == last:  # places ascend, so among equal keys those that came first stay
            if filled == kept:
                if key >= out_keys[kept - 1]:
                    continue
                filled -= 1
            _insert(out_keys, out_places, before, filled, key, i)
            filled += 1
    for i in range(1, before):
        _insert(out_keys, out_places, 0, i, out_keys[i], out_places[i])


@kernel
def _insert(keys, places, first, end, key, place):  # type: ignore[no-untyped-def]
    """Put a key behind those of ``[first, end)`` that are not larger."""
    at = end
    while at > first and keys[at - 1] > key:
        keys[at] = keys[at - 1]
        places[at] = places[at - 1]
        at -= 1
    keys[at] = key
    places[at] = place
