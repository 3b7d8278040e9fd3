"""The contract of every read driver: what a caller may rely on.

A driver reads many pieces of files at once. A *batch* is five arrays of one length n; read i asks
for ``sizes[i]`` bytes of the descriptor ``fds[i]`` from ``offsets[i]`` on, to be put at the memory
address ``addresses[i]``:

- ``read_batch`` returns when all n reads have ended, in whatever order they did. ``results[i]`` is
  then the number of bytes read, or minus the error number of that read (``-EBADF``, ``-EIO``). The
  error of one read never disturbs another and is never raised.
- Bytes ``0 .. results[i]-1`` at the address are those of the file. What lies beyond them, or
  anywhere after an error, is undefined.
- A read that ends early is continued. A result below ``sizes[i]`` therefore means the end of the
  file, and 0 that the read began at or past it.
- EINTR and EAGAIN are tried again, at most :data:`RETRIES_MAX` times for one read.
- A negative offset or size gives ``-EINVAL``; a size of 0 gives 0 or the descriptor's error.
- On a direct descriptor offset, size and address must be multiples of its ``alignment_bytes``
  (``-EINVAL`` otherwise). Nothing else needs any alignment.
- The caller owns the memory and keeps it alive and untouched until the call returns. It may be used
  at once afterwards: no read is in flight then, also when the call ends with an exception.
- Reads of one batch must not overlap in memory. A batch may be far larger than the driver's depth.
- Any thread may call; several may at the same time.
- Trouble of the driver itself (a ring that cannot be set up, a closed driver, one that was opened
  before a fork) is raised, as StorageError or IndexClosed.

``close`` may be called twice, and by any thread once no call is running.
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from pageann.errors import IndexClosed, InvalidArgument

__all__ = [
    "RESUME_BYTES",
    "RETRIES_MAX",
    "AsyncReadDriver",
    "Int32s",
    "Int64s",
    "ReadDriver",
    "closed_driver",
    "is_transient",
    "require_batch",
    "resume_point",
    "settle_read",
]

Int32s: TypeAlias = npt.NDArray[np.int32]
Int64s: TypeAlias = npt.NDArray[np.int64]

RETRIES_MAX = 16
"""How often one read is tried again after EINTR or EAGAIN."""

RESUME_BYTES = 4096
"""A read is continued at a multiple of this many bytes from its start, to stay aligned if it is direct."""


class ReadDriver(Protocol):
    """A driver that blocks the calling thread until a batch is done."""

    @property
    def name(self) -> str:
        """``uring`` or ``threads``."""
        ...

    def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        """Read all pieces and fill ``results``; see the contract above."""
        ...

    def close(self) -> None:
        """Free threads, rings and descriptors of the driver; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AsyncReadDriver(Protocol):
    """The same for coroutines: the batch is awaited. A cancelled call waits for reads in flight."""

    @property
    def name(self) -> str:
        """``aio``."""
        ...

    async def read_batch(
        self, fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s
    ) -> None:
        """Read all pieces and fill ``results``; see the contract above."""
        ...

    def close(self) -> None:
        """Free the threads of the driver; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def require_batch(fds: Int32s, offsets: Int64s, sizes: Int32s, addresses: Int64s, results: Int32s) -> int:
    """The number of reads in a batch; InvalidArgument, naming the array, if the arrays do not fit."""
    arrays: dict[str, tuple[npt.NDArray[Any], type]] = {
        "fds": (fds, np.int32),
        "offsets": (offsets, np.int64),
        "sizes": (sizes, np.int32),
        "addresses": (addresses, np.int64),
        "results": (results, np.int32),
    }
    for name, (array, dtype) in arrays.items():
        if array.dtype != dtype or array.shape != (len(fds),) or not array.flags.c_contiguous:
            wanted = f"a contiguous {np.dtype(dtype)} array of shape ({len(fds)},)"
            raise InvalidArgument(f"{name} of a read batch is {array.dtype} {array.shape}; pass {wanted}")
    return len(fds)


def closed_driver(name: str) -> IndexClosed:
    """The error for a use after ``close``."""
    return IndexClosed(f"the {name} driver was closed; open the index again")


# The rules of continuing and retrying. Plain functions of integers: the kernels of the ring compile
# these same lines, so that all drivers agree.


def is_transient(result: int) -> bool:
    """Whether a result asks for another try."""
    return result == -errno.EINTR or result == -errno.EAGAIN


def resume_point(done_bytes: int) -> int:
    """Where, from its start, to continue a read of which ``done_bytes`` have arrived."""
    return done_bytes - done_bytes % RESUME_BYTES


def settle_read(result: int, resumed_at: int, done_bytes: int, nbytes: int) -> tuple[bool, int]:
    """What one system call means for its read: (True, final result) or (False, bytes arrived so far).

    ``result`` is what the call for ``nbytes - resumed_at`` bytes returned, ``done_bytes`` what had
    arrived before. Bytes between ``resumed_at`` and ``done_bytes`` are read twice: so a direct read
    stays aligned, and no progress beyond them is the end of the file.
    """
    if result < 0:
        return True, result
    reached = resumed_at + result
    if reached >= nbytes:
        return True, nbytes
    if reached <= done_bytes:
        return True, done_bytes
    return False, reached
