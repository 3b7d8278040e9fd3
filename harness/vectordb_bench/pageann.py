"""PageANN for VectorDBBench: vectors are staged in a file, ``optimize`` builds the index."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import pageann

from ..api import VectorDB

_INDEX_NAME, _STAGED_NAME = "index.pageann", "staged.records"
_BLOCK_ROWS = 100_000


class PageANN(VectorDB):  # type: ignore[misc]
    """A client holds no connection but the open index, which any number of processes may share."""

    name = "PageANN"

    def __init__(
        self,
        dim: int,
        db_config: dict[str, Any],
        db_case_config: Any,
        collection_name: str = "vectors",
        drop_old: bool = False,
        **others: Any,
    ) -> None:
        self.dim = dim
        self.case_config = db_case_config
        self._folder = Path(db_config["path"]) / collection_name
        self._index: pageann.Index | None = None
        self._search_options = db_case_config.search_param()
        if drop_old:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def init(self) -> Iterator[None]:
        """Open the index, where it is built, until the context ends."""
        if (self._folder / _INDEX_NAME).exists():
            self._index = pageann.open(self._folder / _INDEX_NAME)
        try:
            yield
        finally:
            if self._index is not None:
                self._index.close()
                self._index = None

    def insert_embeddings(
        self, embeddings: list[list[float]], metadata: list[int], labels_data: Any = None, **others: Any
    ) -> tuple[int, Exception | None]:
        """Stage vectors and their ids, all or none; ``(how many, error)``. Any number of clients may."""
        records = np.empty(len(metadata), self._record())
        records["id"], records["vector"] = metadata, embeddings
        try:
            _append(self._folder / _STAGED_NAME, records.tobytes())
        except OSError as error:
            return 0, error
        return len(records), None

    def optimize(self, data_size: int | None = None) -> None:
        """Build the index of everything that was staged, and open it."""
        staged = np.memmap(self._folder / _STAGED_NAME, self._record(), mode="r")
        blocks = (
            np.ascontiguousarray(staged["vector"][first : first + _BLOCK_ROWS])
            for first in range(0, len(staged), _BLOCK_ROWS)
        )
        pageann.build(
            blocks,
            self._folder / _INDEX_NAME,
            rows=len(staged),
            dim=self.dim,
            ids=np.array(staged["id"]),
            **self.case_config.index_param(),
        )
        if self._index is not None:
            self._index.close()
        self._index = pageann.open(self._folder / _INDEX_NAME)

    def search_embedding(self, query: list[float], k: int = 100, **others: Any) -> list[int]:
        """Ids of the k nearest, nearest first."""
        assert self._index is not None, "optimize builds the index, init opens it"
        found = self._index.search(np.asarray(query, np.float32), k, stats=False, **self._search_options)
        ids: list[int] = found.ids[0, : found.counts[0]].tolist()
        return ids

    def need_normalize_cosine(self) -> bool:
        """Cosine is a metric of its own."""
        return False

    def _record(self) -> np.dtype[np.void]:
        return np.dtype([("id", np.int64), ("vector", np.float32, (self.dim,))])

    def __getstate__(self) -> dict[str, Any]:
        """Copies, in other processes too, open the index for themselves."""
        return {**self.__dict__, "_index": None}


def _append(path: Path, records: bytes) -> None:
    """Put ``records`` behind what is in the file; OSError, and the file as before, where not all fit."""
    with open(path, "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(records) != len(records):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise
