"""One read through the operating system's ``preadv``, to the end: shared by ``threads`` and ``aio``."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import threading
import time

from pageann.storage.io.contract import RETRIES_MAX, is_transient, resume_point, settle_read
from pageann.storage.io.faults import FAULT_KIND, FAULT_VALUE, FaultKind, FaultTable, find_fault

__all__ = ["read_one"]

_faults_lock = threading.Lock()


@functools.lru_cache(maxsize=256)
def _bytes_type(nbytes: int) -> type[ctypes.Array[ctypes.c_char]]:
    return ctypes.c_char * nbytes


def read_one(fd: int, offset: int, nbytes: int, address: int, faults: FaultTable) -> int:
    """Read into the memory at ``address``; the number of bytes, or minus the error number."""
    if offset < 0 or nbytes < 0:
        return -errno.EINVAL
    done_bytes = 0
    retries = 0
    while True:
        start = resume_point(done_bytes)
        result = _attempt(fd, offset + start, nbytes - start, address + start, faults)
        if is_transient(result) and retries < RETRIES_MAX:
            retries += 1
            continue
        finished, value = settle_read(result, start, done_bytes, nbytes)
        if finished:
            return value
        done_bytes = value


def _attempt(fd: int, offset: int, nbytes: int, address: int, faults: FaultTable) -> int:
    """One system call: bytes read, or minus the error number."""
    if len(faults):
        with _faults_lock:
            found = find_fault(faults.rows, fd, offset)
        if found >= 0:
            value = int(faults.rows[found, FAULT_VALUE])
            kind = faults.rows[found, FAULT_KIND]
            if kind == FaultKind.ERROR:
                return -value
            if kind == FaultKind.SHORT:
                nbytes = min(nbytes, value)
            else:
                time.sleep(value / 1e6)
    try:
        return os.preadv(fd, [_bytes_type(nbytes).from_address(address)], offset)
    except OSError as error:
        return -(error.errno or errno.EIO)
