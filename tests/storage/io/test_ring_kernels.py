"""The kernels of the ring, as a search loop uses them: one by one, with several kinds of completion.

A loop that lost a completion would wait for ever, one that counted a place too many would overwrite
a read that the kernel has not taken yet, and one that was not woken would never stop.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pageann.storage.io.contract import Int32s, Int64s
from pageann.storage.io.faults import Fault, FaultKind, FaultTable
from pageann.storage.io.files import AlignedBuffer, OpenedFile
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import CQ_ENTRY_COUNT, IN_FLIGHT_COUNT
from pageann.storage.io.uring_kernels import (
    ring_drain,
    ring_push_poll,
    ring_push_read,
    ring_reap,
    ring_submit_wait,
)

PAGE_BYTES = 4096
WAKE = 1 << 40

pytestmark = pytest.mark.usefixtures("uring")


@pytest.fixture
def ring() -> Iterator[Ring]:
    with Ring(8) as ring:
        yield ring


@pytest.fixture
def event() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


def room(count: int = 64) -> tuple[Int64s, Int32s]:
    return np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int32)


def reap(ring: Ring, limit: int = 64) -> dict[int, int]:
    """Completions that are there: user data -> result."""
    user_data, results = room(limit)
    count = ring_reap(ring.state, user_data, results)
    found = dict(zip(user_data[:count].tolist(), results[:count].tolist(), strict=True))
    assert len(found) == count, "the same completion twice"
    return found


def push_page(ring: Ring, opened: OpenedFile, page: int, buffer: AlignedBuffer, slot: int) -> bool:
    address = buffer.address + slot * PAGE_BYTES
    return bool(ring_push_read(ring.state, opened.fd, page * PAGE_BYTES, PAGE_BYTES, address, page))


def test_completions_carry_user_data_and_bytes(ring: Ring, direct: OpenedFile, content: bytes) -> None:
    with AlignedBuffer(8 * PAGE_BYTES) as buffer:
        for slot in range(8):
            assert push_page(ring, direct, 3 * slot, buffer, slot)
        assert ring_submit_wait(ring.state, 8, -1) == 8
        assert reap(ring) == {3 * slot: PAGE_BYTES for slot in range(8)}
        for slot in range(8):
            start = 3 * slot * PAGE_BYTES
            page = buffer.array[slot * PAGE_BYTES : (slot + 1) * PAGE_BYTES]
            assert page.tobytes() == content[start : start + PAGE_BYTES]
    assert ring.state[IN_FLIGHT_COUNT] == 0


def test_a_full_submission_queue_refuses_and_takes_again_after_submitting(
    ring: Ring, direct: OpenedFile
) -> None:
    with AlignedBuffer(9 * PAGE_BYTES) as buffer:
        accepted = [push_page(ring, direct, slot, buffer, slot) for slot in range(9)]
        assert accepted == [True] * 8 + [False]
        assert ring_submit_wait(ring.state, 0, -1) == 8
        assert push_page(ring, direct, 8, buffer, 8)
        assert ring_submit_wait(ring.state, 9, -1) == 1
        assert reap(ring) == dict.fromkeys(range(9), PAGE_BYTES)


def test_no_more_is_in_flight_than_completions_have_room(ring: Ring, direct: OpenedFile) -> None:
    room_count = int(ring.state[CQ_ENTRY_COUNT])
    with AlignedBuffer((room_count + 1) * PAGE_BYTES) as buffer:
        for slot in range(room_count):
            if not push_page(ring, direct, slot, buffer, slot):
                ring_submit_wait(ring.state, 0, -1)
                assert push_page(ring, direct, slot, buffer, slot)
        ring_submit_wait(ring.state, room_count, -1)
        assert not push_page(ring, direct, room_count, buffer, room_count), "nothing was reaped yet"
        assert len(reap(ring)) == room_count
        assert push_page(ring, direct, room_count, buffer, room_count)
        ring_submit_wait(ring.state, 1, -1)
        assert len(reap(ring)) == 1


def test_reaping_takes_no_more_than_the_arrays_hold_and_loses_none(ring: Ring, direct: OpenedFile) -> None:
    with AlignedBuffer(8 * PAGE_BYTES) as buffer:
        for slot in range(8):
            push_page(ring, direct, slot, buffer, slot)
        ring_submit_wait(ring.state, 8, -1)
        parts = [reap(ring, 3) for _ in range(4)]
    assert [len(part) for part in parts] == [3, 3, 2, 0]
    assert set().union(*parts) == set(range(8))


def test_an_event_wakes_a_waiting_loop(ring: Ring, event: int) -> None:
    assert ring_push_poll(ring.state, event, WAKE)
    assert ring_submit_wait(ring.state, 1, 0) == 1
    assert reap(ring) == {}, "nothing has happened yet"
    waker = threading.Timer(0.02, os.eventfd_write, (event, 1))
    waker.start()
    assert ring_submit_wait(ring.state, 1, -1) == 0
    assert list(reap(ring)) == [WAKE]
    waker.join()


def test_an_event_is_emptied_through_the_ring_and_polled_again(ring: Ring, event: int) -> None:
    with AlignedBuffer(8) as buffer:
        for wakes in (1, 3):
            os.eventfd_write(event, wakes)
            ring_push_poll(ring.state, event, WAKE)
            ring_submit_wait(ring.state, 1, -1)
            assert list(reap(ring)) == [WAKE]
            ring_push_read(ring.state, event, 0, 8, buffer.address, 7)
            ring_submit_wait(ring.state, 1, -1)
            assert reap(ring) == {7: 8}
            assert buffer.view(np.uint64)[0] == wakes


def test_signals_do_not_end_a_wait_without_a_limit(ring: Ring, event: int) -> None:
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    waker = threading.Timer(0.1, os.eventfd_write, (event, 1))
    ring_push_poll(ring.state, event, WAKE)
    waker.start()
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        assert ring_submit_wait(ring.state, 1, -1) == 1
        assert list(reap(ring)) == [WAKE]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        waker.join()


@pytest.mark.parametrize("timeout_us", [0, 20_000, 1_100_000])
def test_a_wait_ends_at_its_timeout(ring: Ring, event: int, timeout_us: int) -> None:
    ring_push_poll(ring.state, event, WAKE)
    started = time.monotonic()
    assert ring_submit_wait(ring.state, 1, timeout_us) == 1
    assert time.monotonic() - started >= timeout_us / 1e6
    assert ring_submit_wait(ring.state, 1, 0) == 0
    assert reap(ring) == {}


def test_a_wait_for_more_than_is_in_flight_ends(ring: Ring, direct: OpenedFile) -> None:
    assert ring_submit_wait(ring.state, 5, -1) == 0
    with AlignedBuffer(PAGE_BYTES) as buffer:
        push_page(ring, direct, 1, buffer, 0)
        assert ring_submit_wait(ring.state, 100, -1) == 1
    assert reap(ring) == {1: PAGE_BYTES}


def test_draining_forgets_what_is_pushed_and_waits_for_what_is_submitted(
    direct: OpenedFile, content: bytes
) -> None:
    late = FaultTable([Fault(FaultKind.DELAY, 20_000, offset=0)])
    with Ring(8, late) as ring, AlignedBuffer(2 * PAGE_BYTES) as buffer:
        push_page(ring, direct, 0, buffer, 0)
        ring_submit_wait(ring.state, 0, -1)
        push_page(ring, direct, 1, buffer, 1)
        assert ring_drain(ring.state, *room()) == 0
        assert ring.state[IN_FLIGHT_COUNT] == 0
        assert buffer.array[:PAGE_BYTES].tobytes() == content[:PAGE_BYTES]
        assert not buffer.array[PAGE_BYTES:].any(), "it was never submitted"
        assert push_page(ring, direct, 1, buffer, 1)
        assert ring_submit_wait(ring.state, 1, -1) == 1
        assert reap(ring) == {1: PAGE_BYTES}
        assert buffer.array[PAGE_BYTES:].tobytes() == content[PAGE_BYTES : 2 * PAGE_BYTES]


def test_faults_befall_reads_of_a_loop_too(direct: OpenedFile) -> None:
    table = FaultTable(
        [
            Fault(FaultKind.ERROR, errno.EIO, offset=PAGE_BYTES),
            Fault(FaultKind.SHORT, 512, offset=2 * PAGE_BYTES),
            Fault(FaultKind.DELAY, 1000, offset=3 * PAGE_BYTES),
        ]
    )
    with Ring(8, table) as ring, AlignedBuffer(5 * PAGE_BYTES) as buffer:
        for page in range(5):
            assert push_page(ring, direct, page, buffer, page)
        found: dict[int, int] = {}
        while len(found) < 5:
            assert ring_submit_wait(ring.state, 1, -1) >= 0
            found |= reap(ring)
        whole = dict.fromkeys((0, 3, 4), PAGE_BYTES)
        assert found == {**whole, 1: -errno.EIO, 2: 512}


def test_a_closed_ring_answers_and_touches_nothing(event: int, direct: OpenedFile) -> None:
    ring = Ring(8)
    state = ring.state
    ring.close()
    ring.close()
    assert ring.closed
    with AlignedBuffer(PAGE_BYTES) as buffer:
        assert not ring_push_read(state, direct.fd, 0, PAGE_BYTES, buffer.address, 1)
    assert not ring_push_poll(state, event, 1)
    assert ring_submit_wait(state, 1, -1) == -errno.EBADF
    assert ring_reap(state, *room()) == 0
    assert ring_drain(state, *room()) == -errno.EBADF
