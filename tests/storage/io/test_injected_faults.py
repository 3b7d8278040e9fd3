"""Reads that fail, end early or take long, in every driver.

Real disks do this rarely and at no chosen moment, so the paths behind it rot unseen. The fault table
strikes chosen reads: an error must be that read's alone, an early end must be continued with the
right bytes, a passing refusal be tried again, a late read not delay the truth of the others.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from types import FrameType

import numpy as np
import pytest

from pageann.errors import InvalidArgument
from pageann.storage.io.aio import AioDriver
from pageann.storage.io.contract import RETRIES_MAX
from pageann.storage.io.faults import FAULT_TIMES, Fault, FaultKind, FaultTable, find_fault
from pageann.storage.io.files import OpenedFile
from tests.storage.io.batches import UNREAD, Batch, batch_of, make_driver, read

PAGE_BYTES = 4096


def pages(opened: OpenedFile, count: int) -> Batch:
    return batch_of([(opened.fd, i * PAGE_BYTES, PAGE_BYTES) for i in range(count)])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA, errno.EILSEQ])
def test_an_error_befalls_the_chosen_page_alone(driver_name: str, direct: OpenedFile, number: int) -> None:
    faults = FaultTable([Fault(FaultKind.ERROR, number, offset=5 * PAGE_BYTES)])
    expected = [PAGE_BYTES] * 12
    expected[5] = -number
    with make_driver(driver_name, faults=faults) as driver:
        assert read(driver, pages(direct, 12)) == expected
        assert read(driver, pages(direct, 12)) == [PAGE_BYTES] * 12, "the fault was to befall one read"


@pytest.mark.parametrize("site", range(6))
def test_an_error_at_each_read_of_a_batch(driver_name: str, direct: OpenedFile, site: int) -> None:
    faults = FaultTable([Fault(FaultKind.ERROR, errno.EIO, skip=site)])
    with make_driver(driver_name, depth=2, faults=faults) as driver:
        assert sorted(read(driver, pages(direct, 6))) == [-errno.EIO] + [PAGE_BYTES] * 5


def test_errors_at_every_read_end_the_batch(driver_name: str, direct: OpenedFile) -> None:
    faults = FaultTable([Fault(FaultKind.ERROR, errno.EIO, times=-1)])
    with make_driver(driver_name, depth=2, faults=faults) as driver:
        assert read(driver, pages(direct, 50)) == [-errno.EIO] * 50


@pytest.mark.parametrize("arrived", [512, 1024, 4096, 4608, 8192, 11_776])
def test_a_short_direct_read_is_continued_to_its_end(
    driver_name: str, direct: OpenedFile, content: bytes, arrived: int
) -> None:
    if arrived % direct.alignment_bytes:
        pytest.skip(f"blocks of this device have {direct.alignment_bytes} bytes")
    size = 3 * PAGE_BYTES
    faults = FaultTable([Fault(FaultKind.SHORT, arrived, offset=size)])
    batch = batch_of([(direct.fd, 0, size), (direct.fd, size, size)])
    with make_driver(driver_name, faults=faults) as driver:
        assert read(driver, batch) == [size, size]
    assert batch.bytes_of(1) == content[size : 2 * size]


def test_reads_cut_again_and_again_are_continued(
    driver_name: str, buffered: OpenedFile, content: bytes
) -> None:
    # Each attempt brings 4,100 bytes at most, so a read of 50,000 takes many.
    faults = FaultTable([Fault(FaultKind.SHORT, 4100, times=-1)])
    batch = batch_of([(buffered.fd, 77 + i * 10_000, 50_000) for i in range(10)])
    with make_driver(driver_name, depth=3, faults=faults) as driver:
        assert read(driver, batch) == [50_000] * 10
    for i in range(10):
        start = 77 + i * 10_000
        assert batch.bytes_of(i) == content[start : start + 50_000]


@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN])
def test_a_passing_refusal_is_tried_again(driver_name: str, direct: OpenedFile, number: int) -> None:
    faults = FaultTable([Fault(FaultKind.ERROR, number, offset=PAGE_BYTES, times=RETRIES_MAX)])
    with make_driver(driver_name, faults=faults) as driver:
        assert read(driver, pages(direct, 3)) == [PAGE_BYTES] * 3
    assert faults.rows[0, FAULT_TIMES] == 0, "all refusals were met"


def test_a_lasting_refusal_is_reported_in_the_end(driver_name: str, direct: OpenedFile) -> None:
    faults = FaultTable([Fault(FaultKind.ERROR, errno.EAGAIN, offset=PAGE_BYTES, times=1000)])
    with make_driver(driver_name, faults=faults) as driver:
        assert read(driver, pages(direct, 3)) == [PAGE_BYTES, -errno.EAGAIN, PAGE_BYTES]
    assert faults.rows[0, FAULT_TIMES] == 1000 - 1 - RETRIES_MAX


@pytest.mark.parametrize("depth", [1, 4])
def test_a_late_read_is_waited_for(driver_name: str, direct: OpenedFile, content: bytes, depth: int) -> None:
    delay_us = 30_000
    faults = FaultTable([Fault(FaultKind.DELAY, delay_us, offset=2 * PAGE_BYTES)])
    batch = pages(direct, 6)
    with make_driver(driver_name, depth, faults) as driver:
        started = time.monotonic()
        assert read(driver, batch) == [PAGE_BYTES] * 6
        assert time.monotonic() - started >= delay_us / 1e6
    assert batch.bytes_of(2) == content[2 * PAGE_BYTES : 3 * PAGE_BYTES]


def test_signals_during_a_batch_change_nothing(driver_name: str, direct: OpenedFile) -> None:
    # A profiler's timer interrupts whatever waits in the kernel, some hundred times a second.
    signals = 0

    def count(number: int, frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1

    faults = FaultTable([Fault(FaultKind.DELAY, 100_000, offset=0)])
    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        with make_driver(driver_name, faults=faults) as driver:
            assert read(driver, pages(direct, 4)) == [PAGE_BYTES] * 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals > 0


def test_a_cancelled_batch_no_longer_writes_to_its_memory(direct: OpenedFile) -> None:
    faults = FaultTable([Fault(FaultKind.DELAY, 50_000, times=-1)])
    batch = pages(direct, 12)
    driver = AioDriver(4, faults)

    async def give_up_early() -> None:
        reading = driver.read_batch(batch.fds, batch.offsets, batch.sizes, batch.addresses, batch.results)
        await asyncio.wait_for(reading, timeout=0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up_early())
    batch.buffer.array[:] = 0xA5
    driver.close()  # joins the threads: what was still in flight has landed now
    assert (batch.buffer.array == 0xA5).all()
    assert (batch.results == UNREAD).any(), "the batch was to be given up before its end"


def test_a_cancelled_batch_does_not_stop_its_loop(direct: OpenedFile) -> None:
    faults = FaultTable([Fault(FaultKind.DELAY, 100_000, times=-1)])
    batch = pages(direct, 4)

    async def turns_while_ending(driver: AioDriver) -> int:
        reading = driver.read_batch(batch.fds, batch.offsets, batch.sizes, batch.addresses, batch.results)
        task = asyncio.ensure_future(reading)
        await asyncio.wait({task}, timeout=0.02)
        task.cancel()
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    with AioDriver(4, faults) as driver:
        assert asyncio.run(turns_while_ending(driver)) > 20


def test_a_loop_that_ends_under_a_batch_leaves_its_memory_alone(direct: OpenedFile) -> None:
    faults = FaultTable([Fault(FaultKind.DELAY, 50_000, times=-1)])
    batch = pages(direct, 12)
    driver = AioDriver(4, faults)

    async def leave_it_running() -> None:
        reading = driver.read_batch(batch.fds, batch.offsets, batch.sizes, batch.addresses, batch.results)
        task = asyncio.ensure_future(reading)
        await asyncio.wait({task}, timeout=0.01)

    asyncio.run(leave_it_running())  # cancels the batch and its readers alike
    batch.buffer.array[:] = 0xA5
    driver.close()
    assert (batch.buffer.array == 0xA5).all()
    assert (batch.results == UNREAD).any(), "the batch was to be given up before its end"


def test_the_table_skips_counts_and_matches() -> None:
    table = FaultTable(
        [
            Fault(FaultKind.ERROR, 5, fd=3, offset=4096, skip=1, times=2),
            Fault(FaultKind.ERROR, 6, fd=4),
        ]
    )
    reads = [(3, 0), (3, 4096), (3, 4096), (4, 4096), (3, 4096), (3, 4096), (4, 4096)]
    assert [find_fault(table.rows, fd, offset) for fd, offset in reads] == [-1, -1, 0, 1, 0, -1, -1]
    with pytest.raises(InvalidArgument, match="negative"):
        FaultTable([Fault(FaultKind.ERROR, -5)])


@pytest.mark.parametrize("seed", range(5))
def test_the_compiled_table_agrees_with_the_python_one(uring: None, seed: int) -> None:
    from pageann.storage.io.uring_kernels import _find_fault

    random = np.random.default_rng(seed)
    faults = [
        Fault(
            FaultKind.ERROR,
            5,
            fd=int(random.integers(-1, 3)),
            offset=int(random.integers(-1, 3)),
            skip=int(random.integers(0, 3)),
            times=int(random.integers(-1, 3)),
        )
        for _ in range(5)
    ]
    python, compiled = FaultTable(faults), FaultTable(faults)
    for fd, offset in random.integers(0, 3, (100, 2)).tolist():
        assert _find_fault(compiled.rows, fd, offset) == find_fault(python.rows, fd, offset)
    assert (python.rows == compiled.rows).all()
