"""A ring is set up on old kernels and new, and refused with a reason where there is none.

Flags that a kernel does not know are answered with EINVAL; asking on with fewer keeps io_uring in
use on kernels from 5.11 on. Whatever a refusal leaves half done must be given back.
"""

from __future__ import annotations

import errno
import os
import threading

import pytest

from pageann.errors import InvalidArgument, StorageError
from pageann.storage.io.files import AlignedBuffer, OpenedFile
from pageann.storage.io.ring import Ring, RingParameters, SetUp, ask_kernel
from tests.storage.io.batches import UNREAD, batch_of

SINGLE_ISSUER = 1 << 12


def kernel_that_knows(known_flags: int, asked: list[int]) -> SetUp:
    """The real kernel, which pretends to know only some flags."""

    def set_up(entries: int, parameters: RingParameters) -> int:
        asked.append(parameters.flags)
        if parameters.flags & ~known_flags:
            return -errno.EINVAL
        return ask_kernel(entries, parameters)

    return set_up


@pytest.mark.parametrize(
    ("known_flags", "attempts"),
    [(0x3180, 1), (0x1180, 2), (0x180, 3), (0, 4)],
    ids=["Linux 6.1", "6.0", "5.19", "5.11"],
)
def test_an_older_kernel_is_asked_for_fewer_flags(
    uring: None, direct: OpenedFile, content: bytes, known_flags: int, attempts: int
) -> None:
    from pageann.storage.io.uring_kernels import ring_push_read, ring_reap, ring_submit_wait

    asked: list[int] = []
    batch = batch_of([(direct.fd, 0, 4096)])
    with Ring(4, set_up=kernel_that_knows(known_flags, asked)) as ring:
        assert ring_push_read(ring.state, direct.fd, 0, 4096, batch.buffer.address, 3)
        assert ring_submit_wait(ring.state, 1, -1) == 1
        assert batch.results[0] == UNREAD
        assert ring_reap(ring.state, batch.offsets, batch.results) == 1
    assert batch.results[0] == 4096
    assert batch.bytes_of(0) == content[:4096]
    assert len(asked) == attempts


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_a_refusal_is_an_error_that_says_which(number: int) -> None:
    with pytest.raises(StorageError, match=f"io_uring_setup: {errno.errorcode[number]}") as caught:
        Ring(4, set_up=lambda entries, parameters: -number)
    assert caught.value.errno == number


def test_a_kernel_that_is_too_old_gets_its_ring_back() -> None:
    made: list[int] = []

    def set_up(entries: int, parameters: RingParameters) -> int:
        parameters.features = 0x7
        made.append(os.open(os.devnull, os.O_RDONLY))
        return made[-1]

    with pytest.raises(StorageError, match=r"5\.11"):
        Ring(4, set_up=set_up)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])


def test_a_ring_that_cannot_be_mapped_is_given_back() -> None:
    made: list[int] = []

    def set_up(entries: int, parameters: RingParameters) -> int:
        parameters.features = 0xFFFF
        parameters.sq_entries = entries
        parameters.cq_entries = 2 * entries
        made.append(os.open(os.devnull, os.O_RDONLY))  # cannot be mapped for writing
        return made[-1]

    with pytest.raises(StorageError, match="io_uring mmap: E"):
        Ring(4, set_up=set_up)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])


@pytest.mark.parametrize("entries", [0, -1, 32769])
def test_sizes_out_of_range_are_refused(entries: int) -> None:
    with pytest.raises(InvalidArgument, match=str(entries)):
        Ring(entries)


def test_another_thread_is_told_that_the_ring_is_not_its_own(uring: None, direct: OpenedFile) -> None:
    from pageann.storage.io.uring_kernels import ring_push_read, ring_submit_wait

    asked: list[int] = []
    answers: list[int] = []
    with (
        Ring(4, set_up=kernel_that_knows(0x3180, asked)) as ring,
        AlignedBuffer(4096) as buffer,
    ):
        if not asked[-1] & SINGLE_ISSUER:
            pytest.skip("this kernel does not watch over the owner of a ring")
        ring_push_read(ring.state, direct.fd, 0, 4096, buffer.address, 1)
        other = threading.Thread(target=lambda: answers.append(ring_submit_wait(ring.state, 1, -1)))
        other.start()
        other.join()
    assert answers == [-errno.EEXIST]
