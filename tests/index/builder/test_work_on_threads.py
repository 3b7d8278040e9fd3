"""Pieces of work must all be done once, an exception or a cancelling callback must stop the rest."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st

from pageann.errors import BuildCancelled
from pageann.index.builder.parallel import one_blas_thread, ranges, run_pieces


@given(st.integers(0, 200), st.integers(1, 50))
def test_ranges_cover_everything_once(count: int, size: int) -> None:
    cut = ranges(count, size)
    assert [place for first, last in cut for place in range(first, last)] == list(range(count))
    assert all(0 < last - first <= size for first, last in cut)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pieces", [0, 1, 40])
def test_every_piece_is_done_once_and_reported_in_order(threads: int, pieces: int) -> None:
    done = np.zeros(pieces, np.int64)
    reports: list[tuple[int, int]] = []

    def work(piece: int) -> None:
        done[piece] += 1

    run_pieces(work, range(pieces), threads, lambda finished, total: reports.append((finished, total)))
    assert (done == 1).all()
    assert reports == [(number, pieces) for number in range(1, pieces + 1)]


def test_pieces_run_at_the_same_time() -> None:
    """Two pieces that wait for each other end only if both run."""
    meeting = threading.Barrier(2, timeout=30)
    run_pieces(lambda piece: meeting.wait(), range(2), 2)


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the pool of threads begins to close, that is when all has been cancelled that will be."""
    event = threading.Event()

    class Pool(ThreadPoolExecutor):
        def __exit__(self, *failure: Any) -> bool | None:
            event.set()
            return super().__exit__(*failure)

    monkeypatch.setattr("pageann.index.builder.parallel.ThreadPoolExecutor", Pool)
    return event


@pytest.mark.parametrize("threads", [2, 4])
def test_the_first_failure_is_raised_and_stops_the_rest(threads: int, leaving: threading.Event) -> None:
    began: list[int] = []

    def work(piece: int) -> None:
        began.append(piece)
        if piece == 0:
            raise ValueError("piece 0")
        assert leaving.wait(timeout=30)

    with pytest.raises(ValueError, match="piece 0"):
        run_pieces(work, range(100), threads)
    assert len(began) <= 1 + threads


@pytest.mark.parametrize("threads", [2, 4])
def test_the_callback_cancels(threads: int, leaving: threading.Event) -> None:
    began: list[int] = []

    def work(piece: int) -> None:
        began.append(piece)
        assert piece == 0 or leaving.wait(timeout=30)

    with pytest.raises(BuildCancelled):
        run_pieces(work, range(100), threads, cancel)
    assert len(began) <= 1 + threads


def cancel(finished: int, total: int) -> None:
    raise BuildCancelled("enough")


def test_one_thread_stops_at_once() -> None:
    began: list[int] = []

    def work(piece: int) -> None:
        began.append(piece)
        if piece == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        run_pieces(work, range(10), 1)
    assert began == [0, 1, 2, 3]
    began.clear()
    with pytest.raises(BuildCancelled):
        run_pieces(work, range(10), 1, cancel)
    assert began == [0]


def test_one_blas_thread_is_given_back() -> None:
    def counts() -> list[int]:
        return [library["num_threads"] for library in threadpoolctl.threadpool_info()]

    before = counts()
    assert before
    with one_blas_thread():
        assert set(counts()) == {1}
    assert counts() == before
