"""What every input of vectors offers, and the spool behind those that cannot be mapped."""

from __future__ import annotations

import mmap
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pageann.errors import InvalidArgument, InvalidData, StorageError

__all__ = [
    "MAX_DIM",
    "Array",
    "ArraySource",
    "IdValues",
    "SpooledSource",
    "VectorSource",
    "block_rows_for",
    "regroup",
    "release_pages",
]

Array: TypeAlias = npt.NDArray[Any]
IdValues: TypeAlias = npt.NDArray[np.int64] | list[str]

MAX_DIM = 8192
_BLOCK_BYTES = 8 << 20


def block_rows_for(dim: int, itemsize: int = 4) -> int:
    """Rows of a block of about 8 MiB, at least one."""
    return max(1, _BLOCK_BYTES // max(1, dim * itemsize))


def release_pages(array: Array) -> None:
    """Give back the RAM that reading a mapped file took; the values stay, and are read again when used.

    Pages of a mapping count as resident memory of the process until the system wants them. Does
    nothing for an array that is no read-only memmap.
    """
    mapping = getattr(array, "_mmap", None)
    # a writable private mapping would lose its changes
    if mapping is not None and getattr(array, "mode", "") == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class VectorSource(ABC):
    """``rows`` x ``dim`` vectors of one ``dtype``, read in order or by row.

    ``name`` is what messages call the input. A source has at least one row and 1 to 8,192
    dimensions; anything else is refused with :class:`InvalidData` when it is opened.
    """

    def __init__(self, name: str, rows: int, dim: int, dtype: np.dtype[Any]) -> None:
        if rows < 1:
            raise InvalidData(f"{name}: holds no vectors; at least one row is needed")
        if not 1 <= dim <= MAX_DIM:
            raise InvalidData(f"{name}: vectors of {dim} dimensions; 1 to {MAX_DIM} are supported")
        self.name = name
        self.rows = rows
        self.dim = dim
        self.dtype = dtype

    @property
    def ids(self) -> IdValues | None:
        """The ids that the input carries: int64 array or list of str, unchecked; None where it has none."""
        return None

    @property
    def bytes(self) -> int:
        """Size of the vectors alone."""
        return self.rows * self.dim * self.dtype.itemsize

    @abstractmethod
    def blocks(self, block_rows: int) -> Iterator[tuple[int, Array]]:
        """Yield ``(first row, block)`` in row order; every block but the last has ``block_rows`` rows.

        A block is a C-contiguous ``(rows, dim)`` array of ``dtype``. It may be a view of the input:
        do not write to it.
        """

    @abstractmethod
    def mapped(self, scratch_folder: Path | None) -> Array:
        """The vectors as one read-only ``(rows, dim)`` array or memmap with cheap access to any row.

        Each row is contiguous; the rows themselves may be strided (.fvecs). What cannot be mapped in
        place is copied, block by block, to a nameless file in ``scratch_folder`` (None: the system's
        temporary folder), whose space is freed with the array. Raises StorageError where that fails.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.rows:,} x {self.dim} {self.dtype}>"


def _require_block_rows(block_rows: int) -> None:
    if block_rows < 1:
        raise InvalidArgument(f"block_rows={block_rows}: a block needs at least one row")


def _slices(array: Array, block_rows: int) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(array), block_rows):
        yield start, np.ascontiguousarray(array[start : start + block_rows])


def regroup(blocks: Iterable[Array], block_rows: int) -> Iterator[tuple[int, Array]]:
    """Cut blocks of any sizes into ``(first row, block)`` with ``block_rows`` rows each."""
    waiting: list[Array] = []
    waiting_rows = 0
    start = 0
    for block in blocks:
        while len(block):
            part = block[: block_rows - waiting_rows]
            block = block[len(part) :]
            waiting.append(part)
            waiting_rows += len(part)
            if waiting_rows == block_rows:
                yield start, _joined(waiting)
                start += block_rows
                waiting, waiting_rows = [], 0
    if waiting:
        yield start, _joined(waiting)


def _joined(parts: list[Array]) -> Array:
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


class ArraySource(VectorSource):
    """An array in memory whose rows are contiguous."""

    def __init__(self, name: str, array: Array) -> None:
        super().__init__(name, array.shape[0], array.shape[1], array.dtype)
        self._array = array.view()
        self._array.flags.writeable = False

    def blocks(self, block_rows: int) -> Iterator[tuple[int, Array]]:
        _require_block_rows(block_rows)
        return _slices(self._array, block_rows)

    def mapped(self, scratch_folder: Path | None) -> Array:
        return self._array


class SpooledSource(VectorSource):
    """A source that is read in order, and copied to a file when rows are wanted out of order."""

    _mapping: Array | None = None

    @abstractmethod
    def _read(self, block_rows: int) -> Iterator[Array]:
        """Yield all rows in order, in ``(any, dim)`` blocks of ``dtype``; ``block_rows`` is a wish."""

    def blocks(self, block_rows: int) -> Iterator[tuple[int, Array]]:
        _require_block_rows(block_rows)
        if self._mapping is not None:
            return _slices(self._mapping, block_rows)
        return regroup(self._counted(block_rows), block_rows)

    def mapped(self, scratch_folder: Path | None) -> Array:
        if self._mapping is None:
            self._mapping = self._spool(scratch_folder)
        return self._mapping

    def _counted(self, block_rows: int) -> Iterator[Array]:
        """The blocks, checked to hold as many rows as the source says."""
        found = 0
        for block in self._read(block_rows):
            found += len(block)
            if found > self.rows:
                break
            yield block
        if found != self.rows:
            count = f"{found:,}" if found < self.rows else f"at least {found:,}"
            raise InvalidData(f"{self.name}: {self.rows:,} rows were stated, but {count} came")

    def _spool(self, folder: Path | None) -> Array:
        blocks = self.blocks(block_rows_for(self.dim, self.dtype.itemsize))
        where = folder if folder is not None else Path(tempfile.gettempdir())
        with _spool_errors(where):
            file = tempfile.TemporaryFile(prefix=".pageann-", dir=where)  # noqa: SIM115
        with file:
            for _, block in blocks:
                with _spool_errors(where):
                    file.write(block.data)
            with _spool_errors(where):
                file.flush()
                return np.memmap(file, dtype=self.dtype, mode="r", shape=(self.rows, self.dim))


@contextmanager
def _spool_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one line; never wraps the reading of the input."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{folder}: cannot copy the vectors here: {reason}; free space or name another folder",
            error.errno or 0,
        ) from error
