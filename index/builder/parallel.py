"""Run independent pieces of work on several threads, with the same result as on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread", "ranges", "run_pieces"]

Piece = TypeVar("Piece")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within, each BLAS call uses one thread: sums do not depend on the number of cores."""
    with threadpool_limits(limits=1):
        yield


def ranges(count: int, size: int) -> list[tuple[int, int]]:
    """``[0, count)`` cut into runs of ``size``."""
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def run_pieces(
    work: Callable[[Piece], Any],
    pieces: Sequence[Piece],
    threads: int,
    done: Callable[[int, int], None] | None = None,
) -> None:
    """Call ``work`` on every piece, on ``threads`` threads; ``done(finished, all)`` after each.

    Pieces must write to places of their own. The first exception (``done`` may raise to cancel)
    stops what has not begun and is raised here.
    """
    total = len(pieces)
    if threads <= 1 or total <= 1:
        for finished, piece in enumerate(pieces, 1):
            work(piece)
            if done is not None:
                done(finished, total)
        return
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            for finished, future in enumerate(futures, 1):
                future.result()
                if done is not None:
                    done(finished, total)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
