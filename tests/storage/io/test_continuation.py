"""Reads that end early are continued by one rule in every driver, compiled or not.

A direct read may only be continued where the device's blocks begin, so a rule that went on right where
the last call stopped would fail on devices of 4 KiB blocks, which test machines rarely have. A device
that insists on them, and stops where it likes, is played here.
"""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pageann.storage.io.contract import RESUME_BYTES, is_transient, resume_point, settle_read

BLOCK_BYTES = 4096


def read_to_the_end(nbytes: int, available_bytes: int, stops: list[int]) -> tuple[int, int]:
    """Read from a device that stops at ``stops``; the result, and how many bytes arrived."""
    done_bytes, arrived = 0, 0
    for stop in [*stops, *[nbytes] * (nbytes // BLOCK_BYTES + 3)]:
        start = resume_point(done_bytes)
        assert start % BLOCK_BYTES == 0
        assert start <= done_bytes, "a gap would be left unread"
        result = max(0, min(nbytes - start, available_bytes - start, stop))
        arrived = max(arrived, start + result)
        finished, value = settle_read(result, start, done_bytes, nbytes)
        if finished:
            return value, arrived
        assert value > done_bytes, "no progress, and no end"
        done_bytes = value
    raise AssertionError("the read never ends")


@given(
    nbytes=st.integers(0, 40_000),
    available_bytes=st.integers(0, 50_000),
    stops=st.lists(st.integers(BLOCK_BYTES, 20_000), max_size=6),
)
def test_a_read_ends_with_all_that_there_is(nbytes: int, available_bytes: int, stops: list[int]) -> None:
    result, arrived = read_to_the_end(nbytes, available_bytes, stops)
    assert result == arrived == min(nbytes, available_bytes)


def test_an_error_is_final_even_after_some_bytes() -> None:
    assert settle_read(-errno.EIO, 4096, 5000, 9000) == (True, -errno.EIO)


def test_what_is_passing() -> None:
    passing = [number for number in errno.errorcode if is_transient(-number)]
    assert sorted(passing) == sorted([errno.EINTR, errno.EAGAIN])
    assert not is_transient(0)
    assert not is_transient(errno.EINTR)


@pytest.mark.parametrize("result", [-errno.EIO, 0, 1, 904, 4095, 4096, 8192])
@pytest.mark.parametrize("done_bytes", [0, 1, 4096, 5000, 8191])
def test_compiled_rules_agree(result: int, done_bytes: int) -> None:
    from pageann.storage.io import uring_kernels

    start = resume_point(done_bytes)
    assert uring_kernels.resume_point(done_bytes) == start
    assert start % RESUME_BYTES == 0
    expected = settle_read(result, start, done_bytes, 12_288)
    assert uring_kernels.settle_read(result, start, done_bytes, 12_288) == expected
    assert uring_kernels.is_transient(result) == is_transient(result)
