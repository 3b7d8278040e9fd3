"""What the device can do: random reads of the index's own page file, past the page cache.

Two things are measured at each depth: reads a second with that many always in flight, which is what many
queries at once can have; and the time of one round of that many reads, begun together and waited for, which
is what one hop of one query costs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageann.bench.machine import cpu_seconds
from pageann.errors import StorageError
from pageann.storage.io.buffers import AlignedBuffer
from pageann.storage.io.contract import ReadDriver
from pageann.storage.io.files import OpenedFile, open_for_reading
from pageann.storage.io.probe import probe
from pageann.storage.io.threads import ThreadsDriver

__all__ = ["probe_device"]

DEPTHS = (1, 4, 16, 64)
DEPTH = DEPTHS[-1]
_SINGLE_READS = 500
_ROUNDS = 200
_DEEP_READS = 8192
_READS_PER_DEPTH = 2048
_BATCH_READS = 1024
_SEED = 0


def probe_device(page_file: Path, page_bytes: int) -> dict[str, Any]:
    """Latency of reads one at a time, rounds and reads a second at several depths, each of ``page_bytes``.

    ``direct_io`` False says that the file system refused O_DIRECT: then the page cache was measured.
    """
    with open_for_reading(page_file) as file, AlignedBuffer(_BATCH_READS * page_bytes) as buffer:
        reads = _Reads(file, buffer, page_bytes)
        with _driver(page_file, DEPTH) as driver:
            reads.run(driver, _BATCH_READS)  # compiles, and starts threads
            latency_us, single_cpu_us = _one_at_a_time(reads, driver)
            name = driver.name
        depths = [_at_depth(reads, page_file, depth) for depth in DEPTHS]
    deepest = depths[-1]
    return {
        "driver": name,
        "direct_io": file.direct,
        "read_bytes": page_bytes,
        "latency_us": {
            "mean": float(latency_us.mean()),
            "p50": float(np.percentile(latency_us, 50)),
            "p99": float(np.percentile(latency_us, 99)),
        },
        "cpu_us_per_read": single_cpu_us,
        "depth": DEPTH,
        "reads_per_second_at_depth": deepest["reads_per_second"],
        "cpu_us_per_read_at_depth": deepest["cpu_us_per_read"],
        "reads_per_second_best": max(each["reads_per_second"] for each in depths),
        "depths": depths,
    }


class _Reads:
    """Batches of reads of random pages of one file."""

    def __init__(self, file: OpenedFile, buffer: AlignedBuffer, page_bytes: int) -> None:
        self._fd = file.fd
        self._pages = file.size_bytes // page_bytes
        if self._pages == 0:
            raise StorageError(f"the page file is too short to be probed ({file.size_bytes} bytes)")
        self._page_bytes = page_bytes
        self._addresses = buffer.address + np.arange(_BATCH_READS, dtype=np.int64) * page_bytes
        self._generator = np.random.default_rng(_SEED)

    def run(self, driver: ReadDriver, count: int) -> None:
        """Read ``count`` random pages; at most 1,024."""
        pages = self._generator.integers(0, self._pages, count, dtype=np.int64)
        results = np.zeros(count, np.int32)
        driver.read_batch(
            np.full(count, self._fd, np.int32),
            pages * self._page_bytes,
            np.full(count, self._page_bytes, np.int32),
            np.ascontiguousarray(self._addresses[:count]),
            results,
        )
        if (results != self._page_bytes).any():
            number = int(results[results != self._page_bytes][0])
            raise StorageError(
                f"a page could not be read while the device was probed (result {number})", -number
            )


def _driver(page_file: Path, depth: int) -> ReadDriver:
    """The fastest driver that works here, with ``depth`` reads in flight."""
    if probe(page_file, "auto").driver == "uring":
        from pageann.storage.io.uring import UringDriver

        return UringDriver(depth)
    return ThreadsDriver(depth)


def _one_at_a_time(reads: _Reads, driver: ReadDriver) -> tuple[NDArray[np.float64], float]:
    """Microseconds of each read, and CPU microseconds of one, driver's calls included."""
    cpu_start = cpu_seconds()
    latency_us = _rounds(reads, driver, 1, _SINGLE_READS)
    return latency_us, (cpu_seconds() - cpu_start) / _SINGLE_READS * 1e6


def _at_depth(reads: _Reads, page_file: Path, depth: int) -> dict[str, Any]:
    """What ``depth`` reads in flight give."""
    total = _DEEP_READS if depth == DEPTH else _READS_PER_DEPTH
    with _driver(page_file, depth) as driver:
        round_us = _rounds(reads, driver, depth, _ROUNDS)
        seconds, cpu_us = _many_at_once(reads, driver, total)
    return {
        "depth": depth,
        "reads_per_second": total / seconds,
        "round_us": {"p50": float(np.percentile(round_us, 50)), "p99": float(np.percentile(round_us, 99))},
        "cpu_us_per_read": cpu_us,
    }


def _rounds(reads: _Reads, driver: ReadDriver, depth: int, count: int) -> NDArray[np.float64]:
    """Microseconds of each of ``count`` rounds of ``depth`` reads."""
    round_us = np.empty(count, np.float64)
    for number in range(count):
        start = time.perf_counter_ns()
        reads.run(driver, depth)
        round_us[number] = (time.perf_counter_ns() - start) / 1e3
    return round_us


def _many_at_once(reads: _Reads, driver: ReadDriver, total: int) -> tuple[float, float]:
    """Seconds for ``total`` reads at the driver's depth, and CPU microseconds of one."""
    batch = min(total, _BATCH_READS)
    cpu_start, start = cpu_seconds(), time.perf_counter()
    for _ in range(total // batch):
        reads.run(driver, batch)
    return time.perf_counter() - start, (cpu_seconds() - cpu_start) / total * 1e6
