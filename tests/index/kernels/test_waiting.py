"""A worker that wakes for each completion mostly finds nothing that it could go on with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.index.kernels.state import COUNTER_COUNT, N_PENDING, N_QUERY
from pageann.index.kernels.uring_search import worth_waking_for


def work_of(counters: NDArray[np.int64], reads: int) -> Any:
    """What the kernel looks at: ``reads`` of the device are waited for."""
    return SimpleNamespace(counters=counters, read_table=np.array([0, 0, reads], np.int32))


@pytest.mark.parametrize(
    ("pending", "completions"),
    [
        ([13], 13),  # a lone query needs all that it waits for
        ([13, 4, 0, 9], 4),
        ([1, 8], 1),
        ([2, *[8] * 31], 15),  # of 250 reads in flight a sixteenth
        ([8] * 32, 16),
    ],
)
def test_as_many_completions_as_a_query_lacks_or_a_share_of_all(pending: list[int], completions: int) -> None:
    counters = np.zeros((len(pending), COUNTER_COUNT), np.int64)
    counters[:, N_PENDING] = pending
    assert worth_waking_for.py_func(work_of(counters, sum(pending))) == completions


def test_reads_that_no_query_waits_for_do_not_count() -> None:
    counters = np.zeros((3, COUNTER_COUNT), np.int64)
    counters[:, N_PENDING] = [100, 4, 100]
    counters[[0, 2], N_QUERY] = -1
    assert worth_waking_for.py_func(work_of(counters, 4)) == 4


def test_a_read_that_many_queries_wait_for_is_one_completion() -> None:
    """To wait for more than there are would be to wait for ever."""
    counters = np.zeros((32, COUNTER_COUNT), np.int64)
    counters[:, N_PENDING] = 8
    assert worth_waking_for.py_func(work_of(counters, 8)) == 8
