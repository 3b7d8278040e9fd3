"""Drivers hold no descriptor and no memory for reads that have ended.

A service reads for months; a descriptor or some bytes kept for each read or each caller would end
it. Descriptors are counted in /proc, memory as this
process's anonymous resident bytes: those of libraries change with what other processes have loaded.
"""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

from pageann.storage.io.files import OpenedFile
from tests.storage.io.batches import batch_of, make_driver, read

PAGE_BYTES = 4096
NOISE_BYTES = 1 << 20


def descriptor_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def anonymous_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def test_ten_thousand_reads_leave_nothing_behind(driver_name: str, direct: OpenedFile) -> None:
    batch = batch_of([(direct.fd, i % 64 * PAGE_BYTES, PAGE_BYTES) for i in range(500)])
    batch.buffer.array[:] = 1
    with make_driver(driver_name) as driver:
        read(driver, batch)  # starts threads, compiles kernels
        gc.collect()
        descriptors, memory = descriptor_count(), anonymous_bytes()
        for _ in range(20):
            assert read(driver, batch) == [PAGE_BYTES] * 500
        gc.collect()
        assert descriptor_count() == descriptors
        assert anonymous_bytes() - memory <= NOISE_BYTES


def test_a_closed_driver_leaves_no_descriptor(driver_name: str, direct: OpenedFile) -> None:
    batch = batch_of([(direct.fd, 0, PAGE_BYTES)] * 20)
    with make_driver(driver_name) as driver:
        read(driver, batch)  # what the process keeps once and for all is there from now on
    gc.collect()
    before = descriptor_count()
    for _ in range(10):
        with make_driver(driver_name) as driver:
            read(driver, batch)
    gc.collect()
    assert descriptor_count() == before


def test_a_ring_goes_with_the_thread_that_called(uring: None, direct: OpenedFile) -> None:
    with make_driver("uring") as driver:
        before = descriptor_count()
        for _ in range(20):
            batch = batch_of([(direct.fd, 0, PAGE_BYTES)])
            caller = threading.Thread(target=read, args=(driver, batch))
            caller.start()
            caller.join()
            assert batch.results[0] == PAGE_BYTES
        gc.collect()
        assert descriptor_count() == before
