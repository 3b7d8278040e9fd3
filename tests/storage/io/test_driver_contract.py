"""Every driver keeps the one contract of ``pageann.storage.io.contract``.

A search runs over any driver and must get the same bytes, the same end of file and the same error
numbers from each; a driver that raised, stopped or skipped where another reports would change
answers with the machine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import threading
from typing import Any

import numpy as np
import pytest

from pageann.errors import IndexClosed, InvalidArgument
from pageann.storage.io.aio import AioDriver
from pageann.storage.io.files import OpenedFile
from tests.storage.io.batches import Batch, batch_of, make_driver, read
from tests.storage.io.conftest import FILE_BYTES

PAGE_BYTES = 4096


def expect_file_bytes(batch: Batch, content: bytes) -> None:
    """All reads brought exactly what the file holds there."""
    for i in range(len(batch.fds)):
        offset, size = int(batch.offsets[i]), int(batch.sizes[i])
        expected = content[offset : offset + size]
        assert int(batch.results[i]) == len(expected), f"read {i} of {size} bytes at {offset}"
        assert batch.bytes_of(i) == expected, f"read {i} of {size} bytes at {offset}"


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_place_and_size_are_the_bytes_of_the_file(
    driver_name: str, buffered: OpenedFile, content: bytes, seed: int
) -> None:
    random = np.random.default_rng(seed)
    offsets = random.integers(0, FILE_BYTES + 5000, 200)
    sizes = random.integers(0, 20_000, 200)
    batch = batch_of([(buffered.fd, int(o), int(s)) for o, s in zip(offsets, sizes, strict=True)])
    with make_driver(driver_name) as driver:
        read(driver, batch)
    expect_file_bytes(batch, content)


@pytest.mark.parametrize("pages", [1, 2, 4, 16])
def test_direct_pages_are_the_bytes_of_the_file(
    driver_name: str, direct: OpenedFile, content: bytes, pages: int
) -> None:
    # The last of them ends beyond the end of the file, which is no multiple of a block.
    starts = range(0, FILE_BYTES, pages * PAGE_BYTES)
    batch = batch_of([(direct.fd, start, pages * PAGE_BYTES) for start in starts])
    with make_driver(driver_name) as driver:
        read(driver, batch)
    expect_file_bytes(batch, content)


def test_at_the_end_of_the_file_reads_are_short_and_beyond_it_zero(
    driver_name: str, buffered: OpenedFile
) -> None:
    reads = [
        (buffered.fd, FILE_BYTES - 1, 1),
        (buffered.fd, FILE_BYTES - 10, 4096),
        (buffered.fd, FILE_BYTES - 5000, 20_000),
        (buffered.fd, FILE_BYTES, 4096),
        (buffered.fd, FILE_BYTES + 1_000_000, 4096),
    ]
    with make_driver(driver_name) as driver:
        assert read(driver, batch_of(reads)) == [1, 10, 5000, 0, 0]


def test_a_bad_descriptor_harms_no_other_read(driver_name: str, buffered: OpenedFile, content: bytes) -> None:
    write_only = os.open(os.devnull, os.O_WRONLY)
    try:
        batch = batch_of(
            [(buffered.fd, 100, 500), (-1, 0, 500), (write_only, 0, 500), (buffered.fd, 0, 9000)]
        )
        with make_driver(driver_name) as driver:
            assert read(driver, batch) == [500, -errno.EBADF, -errno.EBADF, 9000]
        assert batch.bytes_of(0) == content[100:600]
        assert batch.bytes_of(3) == content[:9000]
    finally:
        os.close(write_only)


def test_negative_offsets_and_sizes_are_invalid(driver_name: str, buffered: OpenedFile) -> None:
    # io_uring would take offset -1 for "where the file stands" and a negative size for 4 GiB.
    reads = [(buffered.fd, -1, 100), (buffered.fd, 0, -1), (buffered.fd, 0, 100), (buffered.fd, -4096, 100)]
    with make_driver(driver_name) as driver:
        assert read(driver, batch_of(reads)) == [-errno.EINVAL, -errno.EINVAL, 100, -errno.EINVAL]


def test_a_direct_read_off_its_alignment_is_invalid(driver_name: str, direct: OpenedFile) -> None:
    reads = [(direct.fd, 1, PAGE_BYTES), (direct.fd, 0, PAGE_BYTES)]
    with make_driver(driver_name) as driver:
        assert read(driver, batch_of(reads)) == [-errno.EINVAL, PAGE_BYTES]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_batches_may_be_far_larger_than_the_depth(
    driver_name: str, direct: OpenedFile, content: bytes, depth: int
) -> None:
    starts = np.random.default_rng(depth).integers(0, 64, 700) * PAGE_BYTES
    batch = batch_of([(direct.fd, int(start), PAGE_BYTES) for start in starts])
    with make_driver(driver_name, depth) as driver:
        read(driver, batch)
    expect_file_bytes(batch, content)


def test_no_reads_and_reads_of_nothing(driver_name: str, buffered: OpenedFile) -> None:
    with make_driver(driver_name) as driver:
        assert read(driver, batch_of([])) == []
        assert read(driver, batch_of([(buffered.fd, 10, 0), (-1, 10, 0)])) == [0, -errno.EBADF]


def test_arrays_that_do_not_fit_are_refused_by_name(driver_name: str, buffered: OpenedFile) -> None:
    good = batch_of([(buffered.fd, 0, 10), (buffered.fd, 0, 10)])
    with make_driver(driver_name) as driver:
        for name in ("offsets", "sizes", "addresses", "results"):
            shorter: dict[str, Any] = {name: getattr(good, name)[:1]}
            with pytest.raises(InvalidArgument, match=name):
                read(driver, dataclasses.replace(good, **shorter))
        wider: dict[str, Any] = {"fds": good.offsets}
        with pytest.raises(InvalidArgument, match="fds"):
            read(driver, dataclasses.replace(good, **wider))
        assert read(driver, good) == [10, 10]


def test_callers_on_several_threads_do_not_disturb_each_other(
    driver_name: str, direct: OpenedFile, content: bytes
) -> None:
    batches = [
        batch_of([(direct.fd, (i * 7 + t) % 64 * PAGE_BYTES, PAGE_BYTES) for i in range(150)])
        for t in range(4)
    ]
    with make_driver(driver_name) as driver:
        callers = [threading.Thread(target=read, args=(driver, batch)) for batch in batches]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    for batch in batches:
        expect_file_bytes(batch, content)


def test_coroutines_of_one_loop_do_not_disturb_each_other(direct: OpenedFile, content: bytes) -> None:
    batches = [
        batch_of([(direct.fd, (i * 5 + c) % 64 * PAGE_BYTES, PAGE_BYTES) for i in range(40)])
        for c in range(6)
    ]

    async def read_all(driver: AioDriver) -> None:
        await asyncio.gather(
            *(driver.read_batch(b.fds, b.offsets, b.sizes, b.addresses, b.results) for b in batches)
        )

    with AioDriver(4) as driver:
        asyncio.run(read_all(driver))
    for batch in batches:
        expect_file_bytes(batch, content)


def test_closing_twice_is_harmless_and_a_use_afterwards_refused(
    driver_name: str, buffered: OpenedFile
) -> None:
    driver = make_driver(driver_name)
    batch = batch_of([(buffered.fd, 0, 10)])
    assert read(driver, batch) == [10]
    driver.close()
    driver.close()
    with pytest.raises(IndexClosed, match=driver_name):
        read(driver, batch)


def test_a_driver_says_its_name_and_refuses_no_depth(driver_name: str) -> None:
    with make_driver(driver_name) as driver:
        assert driver.name == driver_name
    with pytest.raises(InvalidArgument, match="0"):
        make_driver(driver_name, 0)
