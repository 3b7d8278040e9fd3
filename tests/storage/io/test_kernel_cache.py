"""The ring's kernels come out of the disk cache in the next process.

A pointer frozen into a kernel (a ctypes function, an address) makes Numba refuse to cache it, and
every process would then compile for seconds before its first read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from pageann.storage.io import uring_batch, uring_kernels
from pageann.storage.io.files import AlignedBuffer, open_for_reading
from pageann.storage.io.uring import UringDriver

with open_for_reading(sys.argv[1], direct=False) as opened, AlignedBuffer(4096) as buffer:
    results = np.zeros(1, np.int32)
    with UringDriver(4) as driver:
        driver.read_batch(
            np.array([opened.fd], np.int32),
            np.array([0]),
            np.array([4096], np.int32),
            np.array([buffer.address]),
            results,
        )
kernels = {
    value
    for module in (uring_batch, uring_kernels)
    for value in vars(module).values()
    if isinstance(value, Dispatcher)
}
stats = [kernel.stats for kernel in kernels]
print(json.dumps({
    "bytes": int(results[0]),
    "hits": sum(sum(stat.cache_hits.values()) for stat in stats),
    "misses": sum(sum(stat.cache_misses.values()) for stat in stats),
}))
"""


def run(path: Path, cache: Path) -> tuple[dict[str, int], str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env={**os.environ, "PAGEANN_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found, done.stderr


def test_the_second_process_compiles_nothing(uring: None, path: Path, tmp_path: Path) -> None:
    first, first_talk = run(path, tmp_path)
    assert first["bytes"] == 4096
    assert first["misses"] > 0, "the first process was to start from an empty cache"
    assert "compiling" in first_talk

    second, second_talk = run(path, tmp_path)
    assert second["bytes"] == 4096
    assert second["misses"] == 0
    assert second["hits"] >= 1
    assert second_talk == ""
