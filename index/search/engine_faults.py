"""What went wrong on the pages of a search, as errors for people."""

from __future__ import annotations

import numpy as np

from pageann.errors import DamagedIndex, PageANNError, StorageError
from pageann.index.kernels.state import (
    FAULT_READ,
    FAULT_ROW,
    FAULT_SLOT,
    N_FAULT,
    N_FAULT_FILE,
    N_FAULT_PAGE,
)
from pageann.index.search.answers import Answers
from pageann.index.search.load import LoadedSegment
from pageann.storage.io.libc import error_name
from pageann.storage.pages import page_fault

__all__ = ["raise_fault"]

_RESTORE = "restore a copy of the index or build it again"
_MEANINGS = {
    FAULT_ROW: "it names a row that the index does not have",
    FAULT_SLOT: "it tells of a vector that the index does not have",
}


def _error_of(file: str, page: int, code: int) -> PageANNError:
    if code == FAULT_READ:
        return DamagedIndex(f"{file}: page {page} is missing: the file is cut short; {_RESTORE}", file, page)
    if code > FAULT_READ:
        reason = error_name(code - FAULT_READ)
        return StorageError(
            f"{file}: page {page} cannot be read: {reason}; check the disk and its cable or volume",
            code - FAULT_READ,
        )
    if code in _MEANINGS:
        return DamagedIndex(f"{file}: page {page} is damaged: {_MEANINGS[code]}; {_RESTORE}", file, page)
    return page_fault(file, page, code)


def raise_fault(segment: LoadedSegment, answers: Answers) -> None:
    """Raise DamagedIndex, FormatTooNew or StorageError for the first query that met a bad page, if any."""
    if answers.faulty:
        counters = answers.counters[np.flatnonzero(answers.counters[:, N_FAULT])[0]]
        file = str(segment.path_of_layout(int(counters[N_FAULT_FILE])))
        raise _error_of(file, int(counters[N_FAULT_PAGE]), int(counters[N_FAULT]))
