"""A whole batch of reads through a ring, by the contract of drivers, as one kernel."""

from __future__ import annotations

import errno

import numpy as np

from pageann.jit import kernel
from pageann.storage.io.contract import RETRIES_MAX, Int32s, Int64s
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT
from pageann.storage.io.uring_kernels import (
    is_transient,
    resume_point,
    ring_drain,
    ring_push_read,
    ring_reap,
    ring_submit_wait,
    settle_read,
)

__all__ = ["read_batch_through_ring"]

_EBUSY = errno.EBUSY
_EINVAL = errno.EINVAL

# Places in ``counts``.
_NEXT = 0
"""The first read that was not pushed yet."""
_AGAIN = 1
"""How many reads are on the list to be continued."""
_FINISHED = 2


@kernel
def _push_batch(
    state: Int64s,
    fds: Int32s,
    offsets: Int64s,
    sizes: Int32s,
    addresses: Int64s,
    results: Int32s,
    progress: Int32s,
    again: Int32s,
    counts: Int64s,
) -> None:
    """Push reads to be continued, then new ones, until a queue or the batch is at its end."""
    while counts[_AGAIN] > 0 or counts[_NEXT] < len(fds):
        is_new = counts[_AGAIN] == 0
        i = counts[_NEXT] if is_new else np.int64(again[counts[_AGAIN] - 1])
        if offsets[i] < 0 or sizes[i] < 0:
            results[i] = -_EINVAL
            counts[_FINISHED] += 1
        else:
            start = resume_point(np.int64(progress[i]))
            if not ring_push_read(
                state,
                np.int64(fds[i]),
                offsets[i] + start,
                np.int64(sizes[i]) - start,
                addresses[i] + start,
                np.int64(i),
            ):
                return
        if is_new:
            counts[_NEXT] += 1
        else:
            counts[_AGAIN] -= 1


@kernel
def _settle(
    i: int,
    result: int,
    sizes: Int32s,
    results: Int32s,
    progress: Int32s,
    retries: Int32s,
    again: Int32s,
    counts: Int64s,
) -> None:
    """Finish read ``i`` or put it on the list of those to be continued."""
    finished, value = False, np.int64(progress[i])
    if is_transient(result) and retries[i] < RETRIES_MAX:
        retries[i] += 1
    else:
        done_bytes = np.int64(progress[i])
        finished, value = settle_read(result, resume_point(done_bytes), done_bytes, np.int64(sizes[i]))
    if finished:
        results[i] = value
        counts[_FINISHED] += 1
    else:
        progress[i] = value
        again[counts[_AGAIN]] = i
        counts[_AGAIN] += 1


@kernel
def read_batch_through_ring(
    state: Int64s,
    fds: Int32s,
    offsets: Int64s,
    sizes: Int32s,
    addresses: Int64s,
    results: Int32s,
    scratch: Int32s,
    counts: Int64s,
    user_data: Int64s,
    completions: Int32s,
) -> int:
    """Read a whole batch by the contract of drivers; 0, or minus the error number of the ring.

    ``scratch`` (int32, (3, n)) and ``counts`` (int64, (3,)) must be zero; ``user_data`` and
    ``completions`` are room to reap into. The ring must have nothing in flight, and has nothing in
    flight afterwards, also after an error.
    """
    progress, retries, again = scratch[0], scratch[1], scratch[2]
    refusals = 0
    while True:
        _push_batch(state, fds, offsets, sizes, addresses, results, progress, again, counts)
        if counts[_FINISHED] == len(fds):
            return 0
        # With more to push keep the device busy; at the end wake up once, for all.
        in_flight = state[IN_FLIGHT_COUNT]
        all_pushed = counts[_NEXT] == len(fds) and counts[_AGAIN] == 0
        submitted = ring_submit_wait(state, in_flight if all_pushed else max(1, in_flight // 4), -1)
        if submitted < 0:
            refusals += 1
            if not (is_transient(submitted) or submitted == -_EBUSY) or refusals > RETRIES_MAX:
                ring_drain(state, user_data, completions)
                return int(submitted)
        count = ring_reap(state, user_data, completions)
        for j in range(count):
            i, result = user_data[j], np.int64(completions[j])
            _settle(i, result, sizes, results, progress, retries, again, counts)
