"""The ring as kernels, to be called from compiled search loops: push, submit and wait, reap.

All take ``Ring.state`` and run without the GIL, on the thread that made the ring. A loop looks so:

    while wanted or in flight:
        while something is wanted and ring_push_read(...): count it
        ring_submit_wait(state, 1, -1)     # below 0: the ring itself is in trouble
        for each of ring_reap(state, user_data, results): use it

Results are raw: bytes read or minus the error number. Use :func:`settle_read`,
:func:`resume_point` and :func:`is_transient` to go on as the driver contract promises; whole pages
below the end of a file come whole, so a search may do so off its fast path. The memory of a read
belongs to the kernel from push to reap. Nothing may be pushed with ``user_data`` :data:`IGNORED`.
"""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
from numba import types

from pageann.jit import kernel
from pageann.storage.io import contract, faults
from pageann.storage.io.contract import Int32s, Int64s
from pageann.storage.io.faults import FAULT_COLUMNS, FAULT_KIND, FAULT_SECONDS, FAULT_VALUE
from pageann.storage.io.intrinsics import (
    load_acquire_u32,
    load_i32,
    load_i64,
    store_i64,
    store_release_u32,
)
from pageann.storage.io.ring_state import (
    ARGUMENT,
    CQ_ENTRIES,
    CQ_ENTRY_COUNT,
    CQ_HEAD,
    CQ_HEAD_COUNT,
    CQ_MASK,
    CQ_TAIL,
    FAULT_COUNT,
    FAULT_ROWS,
    FIRST_FILE,
    IN_FLIGHT_COUNT,
    MEMORY_END,
    MEMORY_START,
    RING_FD,
    SECOND_FILE,
    SQ_ENTRIES,
    SQ_ENTRY_COUNT,
    SQ_HEAD,
    SQ_MASK,
    SQ_TAIL,
    SQ_TAIL_COUNT,
    UNMADE,
    UNMADE_COUNT,
)
from pageann.storage.memory import view_i64

__all__ = [
    "IGNORED",
    "is_transient",
    "resume_point",
    "ring_drain",
    "ring_push_poll",
    "ring_push_read",
    "ring_reap",
    "ring_submit_wait",
    "settle_read",
]

IGNORED = -(2**63)
"""The ``user_data`` of entries that the ring pushes for itself; never reaped."""

_SYSTEM_CALL_ENTER = 426
_ENTER_GETEVENTS = 1
_ENTER_EXT_ARG = 1 << 3
_ENTER_ARGUMENT_BYTES = 24
_OPERATION_READ_FIXED = 4
_OPERATION_POLL = 6
_OPERATION_TIMEOUT = 11
_OPERATION_READ = 22
_ENTRY_FIXED_FILE = 1 << 0
_ENTRY_HARD_LINK = 1 << 3
_POLL_READABLE = 1
_LOW_32_BITS = 0xFFFFFFFF
_SUBMISSION_BYTES = 64
_COMPLETION_BYTES = 16
_PAIR_BYTES = 16

_EBADF = errno.EBADF
_EINTR = errno.EINTR
_ETIME = errno.ETIME

_FAULT_ERROR = int(faults.FaultKind.ERROR)
_FAULT_SHORT = int(faults.FaultKind.SHORT)
_FAULT_DELAY = int(faults.FaultKind.DELAY)

# By name and not through ctypes, whose pointers would keep kernels out of the disk cache.
_system_call: Any = types.ExternalFunction("syscall", types.int64(*([types.int64] * 7)))
_errno_location: Any = types.ExternalFunction("__errno_location", types.int64())

is_transient = kernel(contract.is_transient)
resume_point = kernel(contract.resume_point)
settle_read = kernel(contract.settle_read)
_find_fault = kernel(faults.find_fault)


@kernel
def _has_room(state: Int64s, entries: int) -> bool:
    """Whether so many more entries fit both queues."""
    if state[RING_FD] < 0 or state[IN_FLIGHT_COUNT] + entries > state[CQ_ENTRY_COUNT]:
        return False
    used = (state[SQ_TAIL_COUNT] - load_acquire_u32(state[SQ_HEAD])) & _LOW_32_BITS
    return bool(used + entries <= state[SQ_ENTRY_COUNT])


@kernel
def _write_entry(
    state: Int64s,
    operation: int,
    entry_flags: int,
    fd: int,
    offset: int,
    address: int,
    length: int,
    operation_flags: int,
    user_data: int,
) -> None:
    """Fill the next submission entry; its last 24 bytes are zero from the start."""
    tail = state[SQ_TAIL_COUNT]
    entry = state[SQ_ENTRIES] + (tail & state[SQ_MASK]) * _SUBMISSION_BYTES
    store_i64(entry, operation | entry_flags << 8 | (np.int64(fd) & _LOW_32_BITS) << 32)
    store_i64(entry + 8, np.int64(offset))
    store_i64(entry + 16, np.int64(address))
    store_i64(entry + 24, np.int64(length) | np.int64(operation_flags) << 32)
    store_i64(entry + 32, np.int64(user_data))
    state[SQ_TAIL_COUNT] = tail + 1
    state[IN_FLIGHT_COUNT] += 1


@kernel
def _write_read(state: Int64s, fd: int, offset: int, nbytes: int, address: int, user_data: int) -> None:
    """Fill the next entry with a read, by what is registered where that is so."""
    operation, flags, file = _OPERATION_READ, 0, np.int64(fd)
    if state[MEMORY_START] <= address and address + nbytes <= state[MEMORY_END]:
        operation = _OPERATION_READ_FIXED  # of buffer 0, which the zeros at the end of the entry say
    if fd == state[FIRST_FILE]:
        flags, file = _ENTRY_FIXED_FILE, np.int64(0)
    elif fd == state[SECOND_FILE]:
        flags, file = _ENTRY_FIXED_FILE, np.int64(1)
    _write_entry(state, operation, flags, file, offset, address, nbytes, 0, user_data)


@kernel
def ring_push_read(state: Int64s, fd: int, offset: int, nbytes: int, address: int, user_data: int) -> bool:
    """Ask for ``nbytes`` of ``fd`` from ``offset`` on at ``address``; not submitted yet.

    False if a queue is full: submit, reap and push again. Offset and nbytes must not be negative.
    """
    if state[FAULT_COUNT] > 0:
        return bool(_push_read_with_faults(state, fd, offset, nbytes, address, user_data))
    if not _has_room(state, 1):
        return False
    _write_read(state, fd, offset, nbytes, address, user_data)
    return True


@kernel
def _push_read_with_faults(
    state: Int64s, fd: int, offset: int, nbytes: int, address: int, user_data: int
) -> bool:
    """The same, after asking the fault table."""
    if not _has_room(state, 2):
        return False
    count = state[FAULT_COUNT]
    rows = view_i64(state[FAULT_ROWS], count * FAULT_COLUMNS).reshape((count, FAULT_COLUMNS))
    found = _find_fault(rows, fd, offset)
    if found >= 0:
        kind, value = rows[found, FAULT_KIND], rows[found, FAULT_VALUE]
        if kind == _FAULT_ERROR:
            pair = state[UNMADE] + state[UNMADE_COUNT] * _PAIR_BYTES
            store_i64(pair, np.int64(user_data))
            store_i64(pair + 8, -value)
            state[UNMADE_COUNT] += 1
            state[IN_FLIGHT_COUNT] += 1
            return True
        if kind == _FAULT_SHORT:
            nbytes = min(nbytes, value)
        elif kind == _FAULT_DELAY:
            # A timer that the read is linked to; a soft link would be cut by its -ETIME.
            row = state[FAULT_ROWS] + found * FAULT_COLUMNS * 8
            _write_entry(
                state, _OPERATION_TIMEOUT, _ENTRY_HARD_LINK, -1, 0, row + FAULT_SECONDS * 8, 1, 0, IGNORED
            )
    _write_read(state, fd, offset, nbytes, address, user_data)
    return True


@kernel
def ring_push_poll(state: Int64s, fd: int, user_data: int) -> bool:
    """Ask for one completion once ``fd``, such as an eventfd, is readable; False if a queue is full.

    For another completion read what made it readable (an eventfd: its 8 bytes, which
    :func:`ring_push_read` can do too), and push again.
    """
    if not _has_room(state, 1):
        return False
    _write_entry(state, _OPERATION_POLL, 0, fd, 0, 0, 0, _POLL_READABLE, user_data)
    return True


@kernel
def ring_submit_wait(state: Int64s, wait_for: int, timeout_us: int) -> int:
    """Submit what was pushed, then wait for ``wait_for`` completions that were not yet reaped.

    Waits no longer than ``timeout_us`` (below 0: without a limit, and signals do not end the wait;
    else they may), nor for more than is in flight. Returns the number submitted, or minus an error
    number if the ring itself is in trouble (``-EBADF``: closed, ``-EEXIST``: another thread's).
    """
    fd = state[RING_FD]
    if fd < 0:
        return -_EBADF
    needed = max(0, min(wait_for, state[IN_FLIGHT_COUNT]) - state[UNMADE_COUNT])
    flags, argument, argument_bytes = _ENTER_GETEVENTS, np.int64(0), 0
    timed = timeout_us >= 0
    if timed:
        argument, argument_bytes = state[ARGUMENT], _ENTER_ARGUMENT_BYTES
        flags |= _ENTER_EXT_ARG
        store_i64(argument + 16, argument + _ENTER_ARGUMENT_BYTES)
        store_i64(argument + 24, np.int64(timeout_us // 1_000_000))
        store_i64(argument + 32, np.int64(timeout_us % 1_000_000 * 1000))
    store_release_u32(state[SQ_TAIL], state[SQ_TAIL_COUNT])
    submitted = 0
    while True:
        pending = (state[SQ_TAIL_COUNT] - load_acquire_u32(state[SQ_HEAD])) & _LOW_32_BITS
        ready = (load_acquire_u32(state[CQ_TAIL]) - state[CQ_HEAD_COUNT]) & _LOW_32_BITS
        if pending == 0 and ready >= needed and needed > 0:
            return int(submitted)
        result = _system_call(_SYSTEM_CALL_ENTER, fd, pending, needed, flags, argument, argument_bytes)
        if result < 0:
            error = load_i32(_errno_location())
            if error == _ETIME or (error == _EINTR and timed):
                return int(submitted)
            if error != _EINTR:
                return int(-error)
            continue
        submitted += result
        if result == pending and (timed or needed == 0):
            return int(submitted)


@kernel
def ring_reap(state: Int64s, user_data_out: Int64s, result_out: Int32s) -> int:
    """Take completions that are there, oldest first, as many as the arrays hold; returns how many.

    ``user_data_out[i]`` is what the read was pushed with, ``result_out[i]`` its bytes or minus its
    error number. Does not wait and makes no system call.
    """
    if state[RING_FD] < 0:
        return 0
    limit = min(len(user_data_out), len(result_out))
    count = 0
    while state[UNMADE_COUNT] > 0 and count < limit:
        state[UNMADE_COUNT] -= 1
        pair = state[UNMADE] + state[UNMADE_COUNT] * _PAIR_BYTES
        user_data_out[count] = load_i64(pair)
        result_out[count] = load_i64(pair + 8)
        state[IN_FLIGHT_COUNT] -= 1
        count += 1
    head = state[CQ_HEAD_COUNT]
    available = (load_acquire_u32(state[CQ_TAIL]) - head) & _LOW_32_BITS
    while available > 0 and count < limit:
        entry = state[CQ_ENTRIES] + (head & state[CQ_MASK]) * _COMPLETION_BYTES
        user_data = load_i64(entry)
        if user_data != IGNORED:
            user_data_out[count] = user_data
            result_out[count] = load_i32(entry + 8)
            count += 1
        head += 1
        available -= 1
        state[IN_FLIGHT_COUNT] -= 1
    state[CQ_HEAD_COUNT] = head
    store_release_u32(state[CQ_HEAD], head)
    return count


@kernel
def ring_drain(state: Int64s, user_data: Int64s, results: Int32s) -> int:
    """Wait for all that was submitted and throw it away; 0, or minus the error number of the ring.

    Afterwards the memory of those reads is the caller's again. What was pushed and not submitted is
    forgotten. A poll ends only when its descriptor becomes readable: see to that first.
    """
    if state[RING_FD] < 0:
        return -_EBADF
    unsubmitted = (state[SQ_TAIL_COUNT] - load_acquire_u32(state[SQ_HEAD])) & _LOW_32_BITS
    state[SQ_TAIL_COUNT] -= unsubmitted
    state[IN_FLIGHT_COUNT] -= unsubmitted
    while state[IN_FLIGHT_COUNT] > 0:
        submitted = ring_submit_wait(state, state[IN_FLIGHT_COUNT], -1)
        if submitted < 0:
            return int(submitted)
        ring_reap(state, user_data, results)
    return 0
