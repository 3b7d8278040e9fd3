"""Bring vectors that come in any order into the order of their rows, in bounded memory."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pageann.storage.files import storage_errors

__all__ = ["RowsDiffer", "in_row_order"]

_BUCKET_BYTES = 16 << 20


class RowsDiffer(Exception):
    """Some row came twice, or not at all."""


def in_row_order(
    blocks: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]],
    rows: int,
    dim: int,
    dtype: np.dtype[Any],
    scratch: Path,
    bucket_bytes: int = _BUCKET_BYTES,
) -> Iterator[npt.NDArray[Any]]:
    """The vectors of ``blocks`` by row: arrays (m, dim), of ``bucket_bytes`` or less.

    ``blocks`` gives (row numbers, vectors); each row 0..``rows`` - 1 comes once, else RowsDiffer is
    raised. A first pass appends each vector with its row to the region of its bucket, a range of rows,
    in a nameless file in the folder ``scratch`` (of the size of all vectors and 8 bytes each); a
    second pass sorts one bucket at a time. Raises StorageError.
    """
    record = np.dtype([("row", np.int64), ("vector", dtype, (dim,))])
    bucket_rows = max(1, bucket_bytes // record.itemsize)
    with (
        storage_errors("copy the vectors in row order into", scratch),
        tempfile.TemporaryFile(dir=scratch, buffering=0) as file,
    ):
        buckets = _Buckets(file.fileno(), record, rows, bucket_rows)
        for numbers, vectors in blocks:
            buckets.append(numbers, vectors)
        for bucket in range(len(buckets.used)):
            yield buckets.vectors(bucket)


class _Buckets:
    """A file of one region of records a bucket; ``used`` counts the records in each."""

    def __init__(self, fd: int, record: np.dtype[Any], rows: int, bucket_rows: int) -> None:
        self._fd = fd
        self._record = record
        self._bucket_rows = bucket_rows
        self._sizes = np.diff([*range(0, rows, bucket_rows), rows])
        self.used = np.zeros_like(self._sizes)

    def append(self, numbers: npt.NDArray[np.int64], vectors: npt.NDArray[Any]) -> None:
        """Write each vector behind those that its bucket has already."""
        buckets = numbers // self._bucket_rows
        ranking = np.argsort(buckets, kind="stable")
        records = np.empty(len(numbers), self._record)
        records["row"], records["vector"] = numbers[ranking], vectors[ranking]
        present, starts = np.unique(buckets[ranking], return_index=True)
        for bucket, part in zip(present.tolist(), np.split(records, starts[1:]), strict=True):
            offset = self._offset(bucket) + int(self.used[bucket]) * self._record.itemsize
            self.used[bucket] += len(part)
            if self.used[bucket] > self._sizes[bucket]:
                raise RowsDiffer
            _write_all(self._fd, part, offset)

    def vectors(self, bucket: int) -> npt.NDArray[Any]:
        """The vectors of a full bucket, by row."""
        if self.used[bucket] != self._sizes[bucket]:
            raise RowsDiffer
        records = np.empty(self._sizes[bucket], self._record)
        _read_all(self._fd, records, self._offset(bucket))
        places = records["row"] - bucket * self._bucket_rows
        if np.bincount(places).max() > 1:
            raise RowsDiffer
        ordered = np.empty_like(records["vector"])
        ordered[places] = records["vector"]
        return ordered

    def _offset(self, bucket: int) -> int:
        return bucket * self._bucket_rows * self._record.itemsize


def _write_all(fd: int, records: npt.NDArray[Any], offset: int) -> None:
    view = records.view(np.uint8).data
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)


def _read_all(fd: int, records: npt.NDArray[Any], offset: int) -> None:
    view = records.view(np.uint8).data
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if got == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done += got
