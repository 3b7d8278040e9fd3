"""An io_uring of one thread: set up, mapped and closed in Python; used by compiled kernels.

Layouts and flags are those of the kernel's ``io_uring.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from pageann.errors import InvalidArgument, StorageError
from pageann.storage.io import fork, ring_state
from pageann.storage.io.contract import Int64s
from pageann.storage.io.faults import NO_FAULTS, FaultTable
from pageann.storage.io.libc import error_name, map_descriptor, system_call, unmap

__all__ = ["ENTRIES_MAX", "Ring", "RingParameters", "SetUp"]

ENTRIES_MAX = 32768

_SYSTEM_CALL_SETUP = 425
_SYSTEM_CALL_REGISTER = 427
_REGISTER_BUFFERS = 0
_UNREGISTER_BUFFERS = 1
_REGISTER_FILES = 2
_SUBMIT_ALL = 1 << 7
_COOP_TASKRUN = 1 << 8
_SINGLE_ISSUER = 1 << 12
_DEFER_TASKRUN = 1 << 13
_FLAGS_NEWEST_FIRST = (
    _SUBMIT_ALL | _SINGLE_ISSUER | _DEFER_TASKRUN,  # Linux 6.1
    _SUBMIT_ALL | _SINGLE_ISSUER | _COOP_TASKRUN,  # 6.0
    _SUBMIT_ALL | _COOP_TASKRUN,  # 5.19
    0,
)
_FEATURE_SINGLE_MMAP = 1 << 0
_FEATURE_NO_DROP = 1 << 1
_FEATURE_EXT_ARG = 1 << 8
_FEATURES_NEEDED = _FEATURE_SINGLE_MMAP | _FEATURE_NO_DROP | _FEATURE_EXT_ARG  # all there since Linux 5.11
_MAP_OFFSET_RINGS = 0
_MAP_OFFSET_ENTRIES = 0x10000000
_SUBMISSION_BYTES = 64
_COMPLETION_BYTES = 16


def _fields(*names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_uint32) for name in names]


class _SubmissionOffsets(ctypes.Structure):
    _fields_ = [
        *_fields("head", "tail", "mask", "entry_count", "flags", "dropped", "array", "reserved"),
        ("user_address", ctypes.c_uint64),
    ]


class _CompletionOffsets(ctypes.Structure):
    _fields_ = [
        *_fields("head", "tail", "mask", "entry_count", "overflow", "cqes", "flags", "reserved"),
        ("user_address", ctypes.c_uint64),
    ]


class RingParameters(ctypes.Structure):
    """``struct io_uring_params``: what is asked of the kernel and what it answers."""

    _fields_ = [
        *_fields("sq_entries", "cq_entries", "flags", "sq_thread_cpu", "sq_thread_idle", "features", "wq_fd"),
        ("reserved", ctypes.c_uint32 * 3),
        ("sq", _SubmissionOffsets),
        ("cq", _CompletionOffsets),
    ]


SetUp = Callable[[int, RingParameters], int]
"""Asks for a ring of so many entries: its descriptor, or minus the error number."""


def ask_kernel(entries: int, parameters: RingParameters) -> int:
    """The :data:`SetUp` of production: the system call."""
    if sys.platform != "linux":
        return -errno.ENOSYS
    return system_call(_SYSTEM_CALL_SETUP, entries, ctypes.addressof(parameters))


class Ring:
    """One io_uring with at least ``entries`` places for submissions.

    It belongs to the thread that makes it: no other may push, submit or reap (the kernel answers
    ``-EEXIST`` where it watches over that). ``state`` is the int64 array that the kernels of
    :mod:`pageann.storage.io.uring_kernels` take; it stays valid, and harmless, after :meth:`close`
    and in a forked child, where they answer ``-EBADF``.

    Raises StorageError, with ``errno``, where the kernel gives no ring: EPERM where a sandbox
    forbids it, ENOSYS where it has none or is older than 5.11.
    """

    __slots__ = ("__weakref__", "_finalizer", "_held", "entries", "mapped_bytes", "state")

    def __init__(
        self, entries: int = 256, faults: FaultTable = NO_FAULTS, set_up: SetUp = ask_kernel
    ) -> None:
        if not 1 <= entries <= ENTRIES_MAX:
            raise InvalidArgument(f"a ring of {entries} entries is not possible; choose 1 to {ENTRIES_MAX}")
        # A delayed read takes two places.
        fd, parameters = _set_up_newest(max(2, entries) if len(faults) else entries, set_up)
        try:
            rings, ring_bytes, submissions, submission_bytes = _map(fd, parameters)
        except OSError as error:
            os.close(fd)
            raise StorageError(f"io_uring mmap: {error_name(error.errno or 0)}", error.errno or 0) from error
        self.entries: int = parameters.sq_entries
        self.mapped_bytes = ring_bytes + submission_bytes
        self.state: Int64s = _fresh_state(fd, parameters, rings, submissions)
        unmade = np.zeros(2 * parameters.cq_entries if len(faults) else 0, dtype=np.int64)
        self.state[ring_state.FAULT_ROWS] = faults.rows.ctypes.data
        self.state[ring_state.FAULT_COUNT] = len(faults)
        self.state[ring_state.UNMADE] = unmade.ctypes.data
        self._held = (faults, unmade)  # the state knows them by address only
        mappings = ((rings, ring_bytes), (submissions, submission_bytes))
        self._finalizer = weakref.finalize(self, _release, self.state, fd, mappings)
        self._finalizer.atexit = False  # a worker may still be in a kernel then; the system frees all
        fork.let_go_at_fork(self)

    def register_files(self, fds: Sequence[int]) -> bool:
        """Have the kernel keep one or two open files at hand for reads of them; whether it does.

        They stay open until the ring is closed. To be called once, and as the next two on the ring's thread.
        """
        numbers = (ctypes.c_int32 * len(fds))(*fds)
        if not self._register(_REGISTER_FILES, ctypes.addressof(numbers), len(fds)):
            return False
        self.state[ring_state.FIRST_FILE : ring_state.FIRST_FILE + len(fds)] = fds
        return True

    def register_memory(self, address: int, nbytes: int) -> bool:
        """Have the kernel keep memory at hand for reads into it, until told otherwise; whether it does.

        It does not beyond ``RLIMIT_MEMLOCK``, nor more than a gibibyte. It holds the
        memory even if that is unmapped, so call :meth:`unregister_memory` first.
        """
        piece = (ctypes.c_uint64 * 2)(address, nbytes)  # a struct iovec
        if not self._register(_REGISTER_BUFFERS, ctypes.addressof(piece), 1):
            return False
        self.state[ring_state.MEMORY_START] = address
        self.state[ring_state.MEMORY_END] = address + nbytes
        return True

    def unregister_memory(self) -> None:
        """Undo it, once reads into the memory have ended; while any is in flight it does nothing.

        Kernels may wait for those here, and the reads of a ring in trouble may never end.
        """
        if self.state[ring_state.MEMORY_END] == 0 or self.state[ring_state.IN_FLIGHT_COUNT] > 0:
            return
        self.state[ring_state.MEMORY_START] = self.state[ring_state.MEMORY_END] = 0
        self._register(_UNREGISTER_BUFFERS, 0, 0)

    def _register(self, operation: int, address: int, count: int) -> bool:
        """Whether the kernel has done it; it answers -EBADF for a closed ring."""
        fd = int(self.state[ring_state.RING_FD])
        return system_call(_SYSTEM_CALL_REGISTER, fd, operation, address, count) == 0

    @property
    def closed(self) -> bool:
        """Whether the ring is of no more use here: closed, or inherited through a fork."""
        return bool(self.state[ring_state.RING_FD] < 0)

    def close(self) -> None:
        """Give descriptor and memory back; a second call does nothing.

        No kernel may be running on the ring. Reap what is in flight first: the system ends it in its
        own time, and may write to the memory of those reads until then.
        """
        self._finalizer()

    def abandon(self) -> None:
        """Let go of the ring in a forked child; the parent's is not touched."""
        self._finalizer()

    def __enter__(self) -> Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _set_up_newest(entries: int, set_up: SetUp) -> tuple[int, RingParameters]:
    """A ring with the best flags that this kernel knows."""
    answer = -errno.EINVAL
    for flags in _FLAGS_NEWEST_FIRST:
        parameters = RingParameters(flags=flags)
        answer = set_up(entries, parameters)
        if answer != -errno.EINVAL:
            break
    if answer < 0:
        raise StorageError(f"io_uring_setup: {error_name(-answer)}; use the threads driver", -answer)
    if parameters.features & _FEATURES_NEEDED != _FEATURES_NEEDED:
        os.close(answer)
        raise StorageError("io_uring of a kernel before 5.11; use the threads driver", errno.ENOSYS)
    return answer, parameters


def _map(fd: int, parameters: RingParameters) -> tuple[int, int, int, int]:
    """Map both queues and the submission entries: two pairs of address and bytes."""
    ring_bytes = max(
        parameters.sq.array + parameters.sq_entries * 4,
        parameters.cq.cqes + parameters.cq_entries * _COMPLETION_BYTES,
    )
    submission_bytes = parameters.sq_entries * _SUBMISSION_BYTES
    rings = map_descriptor(fd, ring_bytes, _MAP_OFFSET_RINGS)
    try:
        submissions = map_descriptor(fd, submission_bytes, _MAP_OFFSET_ENTRIES)
    except OSError:
        unmap(rings, ring_bytes)
        raise
    # Entry i of the queue is always submission i, so this table is written once.
    table = (ctypes.c_uint32 * parameters.sq_entries).from_address(rings + parameters.sq.array)
    table[:] = range(parameters.sq_entries)
    return rings, ring_bytes, submissions, submission_bytes


def _fresh_state(fd: int, parameters: RingParameters, rings: int, submissions: int) -> Int64s:
    state = np.zeros(ring_state.STATE_LENGTH, dtype=np.int64)
    state[ring_state.RING_FD] = fd
    state[ring_state.SQ_HEAD] = rings + parameters.sq.head
    state[ring_state.SQ_TAIL] = rings + parameters.sq.tail
    state[ring_state.SQ_MASK] = parameters.sq_entries - 1
    state[ring_state.SQ_ENTRY_COUNT] = parameters.sq_entries
    state[ring_state.SQ_ENTRIES] = submissions
    state[ring_state.CQ_HEAD] = rings + parameters.cq.head
    state[ring_state.CQ_TAIL] = rings + parameters.cq.tail
    state[ring_state.CQ_MASK] = parameters.cq_entries - 1
    state[ring_state.CQ_ENTRY_COUNT] = parameters.cq_entries
    state[ring_state.CQ_ENTRIES] = rings + parameters.cq.cqes
    state[ring_state.FIRST_FILE] = state[ring_state.SECOND_FILE] = -1
    state[ring_state.ARGUMENT] = state[ring_state.STATE_LENGTH - 5 :].ctypes.data
    return state


def _release(state: Int64s, fd: int, mappings: tuple[tuple[int, int], ...]) -> None:
    state[ring_state.RING_FD] = -1
    for address, nbytes in mappings:
        unmap(address, nbytes)
    os.close(fd)
