"""Kernels that count references to the arrays they look at spend a quarter of a search on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba.core.caching import NullCache
from numba.core.errors import NumbaError

from pageann.jit import kernel
from pageann.storage.memory import view_u8

_COUNTING = ("NRT_incref", "NRT_decref")


def _fresh(function: Callable[..., Any], **options: Any) -> Any:
    """A kernel that is compiled here and now: of code from the cache nothing can be seen."""
    made = kernel(function, **options)
    made._cache = NullCache()
    return made


def _rows_sum(table: Any, address: int) -> int:
    total = 0
    for i in range(table.shape[0]):
        row = table[i]
        total += row[0] + row.sum() + view_u8(address, 2)[1]
    return total


@pytest.mark.parametrize("allocates", [False, True])
def test_only_kernels_that_make_arrays_count_references(allocates: bool) -> None:
    rows_sum = _fresh(_rows_sum, allocates=allocates)
    table = np.arange(12, dtype=np.int64).reshape(3, 4)
    raw = np.array([3, 5], np.uint8)
    assert rows_sum(table, raw.ctypes.data) == 66 + 12 + 3 * 5
    (code,) = rows_sum.inspect_llvm().values()
    assert any(f"call void @{name}" in code for name in _COUNTING) == allocates


def _filled_sum(count: int) -> int:
    return int(np.ones(count, np.int64).sum())


def test_a_kernel_that_makes_an_array_must_say_so() -> None:
    assert _fresh(_filled_sum, allocates=True)(4) == 4
    with pytest.raises(NumbaError):
        _fresh(_filled_sum)(4)
