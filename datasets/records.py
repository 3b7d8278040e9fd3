"""Raw vector files: .fbin and its kin (one header), .fvecs and its kin (a dim before every row)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pageann.datasets.base import MAX_DIM, Array, VectorSource, block_rows_for
from pageann.datasets.files import file_bytes, open_binary, require_file_bytes
from pageann.errors import InvalidArgument, InvalidData

__all__ = ["BIN_DTYPES", "VECS_DTYPES", "RecordLayout", "RecordSource", "open_bin", "open_vecs"]

BIN_DTYPES: dict[str, np.dtype[Any]] = {
    ".fbin": np.dtype("<f4"),
    ".f16bin": np.dtype("<f2"),
    ".i8bin": np.dtype("i1"),
    ".u8bin": np.dtype("u1"),
    ".ibin": np.dtype("<i4"),
}
"""Element type behind each suffix of the big-ann form: uint32 rows, uint32 dim, then the vectors."""

VECS_DTYPES: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}
"""Element type behind each suffix of the TEXMEX form: int32 dim, then one vector, for every row."""

_BIN_HEADER_BYTES = 8
_PREFIX_BYTES = 4


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """Where the vectors lie in a file."""

    offset_bytes: int
    """Position of the first record."""
    prefix_bytes: int = 0
    """Bytes in front of each vector: 0, or 4 for an int32 dim."""


class RecordSource(VectorSource):
    """A file of equally long records, one vector in each; mapped in place."""

    def __init__(
        self,
        path: Path,
        rows: int,
        dim: int,
        dtype: np.dtype[Any],
        layout: RecordLayout,
        name: str | None = None,
    ) -> None:
        super().__init__(name or str(path), rows, dim, dtype)
        self._path = path
        self._layout = layout
        self._record_bytes = layout.prefix_bytes + dim * dtype.itemsize
        self._dims_checked = layout.prefix_bytes == 0

    def blocks(self, block_rows: int) -> Iterator[tuple[int, Array]]:
        if block_rows < 1:
            raise InvalidArgument(f"block_rows={block_rows}: a block needs at least one row")
        return self._blocks(block_rows)

    def _blocks(self, block_rows: int) -> Iterator[tuple[int, Array]]:
        with open_binary(self._path) as file:
            file.seek(self._layout.offset_bytes)
            for start in range(0, self.rows, block_rows):
                count = min(block_rows, self.rows - start)
                raw = np.fromfile(file, np.uint8, count * self._record_bytes)
                if raw.size < count * self._record_bytes:
                    row = start + raw.size // self._record_bytes
                    raise InvalidData(
                        f"{self.name}: the file became shorter while it was read, at row {row:,}"
                    )
                yield start, self._vectors(raw.reshape(count, self._record_bytes), start)

    def _vectors(self, records: Array, start: int) -> Array:
        """The vectors inside ``(count, record_bytes)`` uint8 records, C-contiguous."""
        prefix_bytes = self._layout.prefix_bytes
        if prefix_bytes:
            dims = np.ascontiguousarray(records[:, :prefix_bytes]).view("<i4")[:, 0]
            _require_dims(self._path, dims, self.dim, start)
        return np.ascontiguousarray(records[:, prefix_bytes:]).view(self.dtype)

    def mapped(self, scratch_folder: Path | None) -> Array:
        if not self._dims_checked:
            for _ in self.blocks(block_rows_for(self.dim, self.dtype.itemsize)):
                pass
            self._dims_checked = True
        with open_binary(self._path) as file:
            records = np.memmap(
                file,
                dtype=np.uint8,
                mode="r",
                offset=self._layout.offset_bytes,
                shape=(self.rows, self._record_bytes),
            )
        return records[:, self._layout.prefix_bytes :].view(self.dtype)


def _require_dims(path: Path, dims: Array, dim: int, start: int) -> None:
    wrong = np.flatnonzero(dims != dim)
    if wrong.size:
        row = int(wrong[0])
        raise InvalidData(
            f"{path}: row {start + row:,} says {int(dims[row])} dimensions, row 0 says {dim}; "
            "all rows must agree: the file is damaged or of another format"
        )


def open_bin(path: Path) -> RecordSource:
    """Open a big-ann file (.fbin, .f16bin, .i8bin, .u8bin, .ibin); its header must fit its size."""
    dtype = BIN_DTYPES[path.suffix.lower()]
    size = file_bytes(path)
    if size < _BIN_HEADER_BYTES:
        raise InvalidData(f"{path}: {size} bytes are too few for a header of 8 (uint32 rows, uint32 dim)")
    with open_binary(path) as file:
        rows, dim = (int(value) for value in np.fromfile(file, "<u4", 2))
    expected_bytes = _BIN_HEADER_BYTES + rows * dim * dtype.itemsize
    require_file_bytes(path, size, expected_bytes, f"{rows:,} x {dim:,} {dtype.name}, with its header")
    return RecordSource(path, rows, dim, dtype, RecordLayout(_BIN_HEADER_BYTES))


def open_vecs(path: Path) -> RecordSource:
    """Open a TEXMEX file (.fvecs, .bvecs, .ivecs); each row's dim is checked when the row is read."""
    suffix = path.suffix.lower()
    dtype = VECS_DTYPES[suffix]
    size = file_bytes(path)
    if size < _PREFIX_BYTES:
        raise InvalidData(f"{path}: {size} bytes are too few for the dim of row 0 (int32)")
    with open_binary(path) as file:
        dim = int(np.fromfile(file, "<i4", 1)[0])
    if not 1 <= dim <= MAX_DIM:
        raise InvalidData(f"{path}: row 0 says {dim:,} dimensions, not 1 to {MAX_DIM}: not a {suffix} file?")
    record_bytes = _PREFIX_BYTES + dim * dtype.itemsize
    rows, rest_bytes = divmod(size, record_bytes)
    source = RecordSource(path, max(rows, 1), dim, dtype, RecordLayout(0, _PREFIX_BYTES))
    if rest_bytes:
        if rows:
            source.mapped(None)  # names the first row of another dim, if that is the reason
        raise InvalidData(
            f"{path}: row {rows:,} has {rest_bytes:,} of its {record_bytes:,} bytes: truncated; "
            "copy or download it again"
        )
    return source
