"""The yardstick of the scan ratio: CPU of one exact faiss scan of 10,000 float32 rows.

Run as a program, in a child process of its own, so that the process that searches imports no faiss:
``python -m pageann.bench.scan DIM`` prints microseconds of CPU for one query on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from pageann.errors import StorageError

__all__ = ["SCAN_ROWS", "scan_cpu_us"]

SCAN_ROWS = 10_000
_MEASURED_SECONDS = 0.4
_K = 10
_TIMEOUT_SECONDS = 120


def scan_cpu_us(dim: int) -> float:
    """CPU microseconds of one such scan on this machine now, measured in a child process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pageann.bench.scan", str(dim)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StorageError(f"the exact scan that queries are compared with failed: {last_line}")
    return float(done.stdout)


def _measure(dim: int) -> float:
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    generator = np.random.default_rng(0)
    index = faiss.IndexFlatL2(dim)
    index.add(generator.standard_normal((SCAN_ROWS, dim), dtype=np.float32))
    queries = generator.standard_normal((256, dim), dtype=np.float32)
    for number in range(8):
        index.search(queries[number : number + 1], _K)
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < _MEASURED_SECONDS:
        row = count % len(queries)
        index.search(queries[row : row + 1], _K)
        count += 1
    return spent / count * 1e6


if __name__ == "__main__":
    print(_measure(int(sys.argv[1])))
