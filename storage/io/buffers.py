"""Memory that direct reads may land in."""

from __future__ import annotations

import contextlib
import mmap
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.errors import IndexClosed, InvalidArgument, StorageError

__all__ = ["AlignedBuffer"]


class AlignedBuffer:
    """Anonymous private memory of ``nbytes``, zeroed and aligned to a page of the operating system.

    ``address`` is where it starts and ``array`` a uint8 view of all of it. The memory goes back to
    the system at :meth:`close`, or with the last view where one is still held by then.
    Raises StorageError where the system has no such memory.
    """

    __slots__ = ("_array", "_memory", "address", "nbytes")

    def __init__(self, nbytes: int) -> None:
        if nbytes <= 0:
            raise InvalidArgument(f"a read buffer of {nbytes} bytes is not possible; ask for at least 1")
        try:
            self._memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise StorageError(
                f"no memory for a read buffer of {nbytes} bytes: {error.strerror}; free some memory, or open "
                "the index with less",
                error.errno or 0,
            ) from error
        self._array: npt.NDArray[np.uint8] | None = np.frombuffer(self._memory, dtype=np.uint8)
        self.address = int(self._array.ctypes.data)
        self.nbytes = nbytes

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The bytes, uint8 of shape (nbytes,), writable; IndexClosed after :meth:`close`."""
        if self._array is None:
            raise IndexClosed("this read buffer was closed; open the index again")
        return self._array

    def view(self, dtype: Any) -> npt.NDArray[Any]:
        """The bytes as items of ``dtype``, which must divide ``nbytes``."""
        return self.array.view(dtype)

    def close(self) -> None:
        """Give the memory back; a second call does nothing. No read may be in flight into it."""
        self._array = None
        self.address = 0
        # A view outside still needs the memory: unmapping it now would crash its next use.
        with contextlib.suppress(BufferError):
            self._memory.close()

    def __enter__(self) -> AlignedBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
