"""The few C library calls that Python's ``os`` does not offer: statx, fstatfs, mmap, munmap, syscall."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import Any

__all__ = [
    "direct_alignments",
    "error_name",
    "is_memory_file_system",
    "map_descriptor",
    "system_call",
    "unmap",
]

_AT_EMPTY_PATH = 0x1000
_STATX_DIOALIGN = 0x2000
_STATX_BYTES = 256
_STATX_MEMORY_ALIGNMENT_OFFSET = 152
_STATX_OFFSET_ALIGNMENT_OFFSET = 156

_STATFS_BYTES = 256
_TMPFS_MAGIC = 0x01021994
_RAMFS_MAGIC = 0x858458F6

_PROT_READ_WRITE = 0x3
_MAP_SHARED_POPULATE = 0x8001
_MAP_FAILED = ctypes.c_void_p(-1).value


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_library(), name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


def error_name(error_number: int) -> str:
    """The symbol of an error number, such as ``EPERM``."""
    return errno.errorcode.get(error_number, f"errno {error_number}")


def direct_alignments(fd: int) -> tuple[int, int] | None:
    """Bytes that direct reads of ``fd`` must align (addresses, offsets and sizes); None if unknown.

    Two zeros mean that the file takes no direct reads. Kernels before 6.1 and some file systems
    do not say.
    """
    if sys.platform != "linux" or not hasattr(_library(), "statx"):
        return None
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    statx = _function(
        "statx", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
    )
    if statx(fd, b"", _AT_EMPTY_PATH, _STATX_DIOALIGN, ctypes.addressof(answer)) != 0:
        return None
    if not ctypes.c_uint32.from_buffer(answer, 0).value & _STATX_DIOALIGN:
        return None
    return (
        ctypes.c_uint32.from_buffer(answer, _STATX_MEMORY_ALIGNMENT_OFFSET).value,
        ctypes.c_uint32.from_buffer(answer, _STATX_OFFSET_ALIGNMENT_OFFSET).value,
    )


def is_memory_file_system(fd: int) -> bool:
    """Whether the file lives in memory (tmpfs, ramfs), where no device is read."""
    if sys.platform != "linux":
        return False
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    fstatfs = _function("fstatfs", ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    if fstatfs(fd, ctypes.addressof(answer)) != 0:
        return False
    return ctypes.c_ulong.from_buffer(answer, 0).value in (_TMPFS_MAGIC, _RAMFS_MAGIC)


def map_descriptor(fd: int, nbytes: int, offset: int) -> int:
    """Map ``nbytes`` of a descriptor for shared reading and writing; its address, or OSError.

    Unlike :mod:`mmap` this keeps no duplicate of the descriptor.
    """
    mmap = _function(
        "mmap",
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    address = mmap(None, nbytes, _PROT_READ_WRITE, _MAP_SHARED_POPULATE, fd, offset)
    if address is None or address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(address)


def unmap(address: int, nbytes: int) -> None:
    """Undo :func:`map_descriptor`."""
    _function("munmap", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)(address, nbytes)


def system_call(number: int, first: int, second: int, *more: int) -> int:
    """A system call by number with up to six integer arguments; its result, or minus the error number."""
    arguments = (first, second, *more, 0, 0, 0, 0)[:6]
    result = _function("syscall", ctypes.c_long, *([ctypes.c_long] * 7))(number, *arguments)
    return -ctypes.get_errno() if result < 0 else int(result)
