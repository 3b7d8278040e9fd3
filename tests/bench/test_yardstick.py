"""The exact scan that CPU is compared with runs in a process of its own.

Guarded: a benchmark process that imports faiss, whose threads and memory would be in the figures.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from pageann.bench import machine, scan
from pageann.errors import StorageError


def test_scan_takes_time_that_grows_with_the_dimension() -> None:
    small, large = scan.scan_cpu_us(8), scan.scan_cpu_us(512)
    assert 1 < small < large < 1e6


def test_this_process_imports_no_faiss() -> None:
    program = (
        "import sys; import pageann.bench.run, pageann.bench.scan;"
        " print(sorted({'faiss', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_scan_that_fails_says_why() -> None:
    with pytest.raises(StorageError, match="exact scan"):
        scan.scan_cpu_us(-1)


def test_machine_facts_name_no_host() -> None:
    import platform

    facts = machine.describe_machine()
    assert facts["cores"] >= 1
    assert facts["ram_bytes"] > 1 << 28
    assert facts["packages"]["numpy"][0].isdigit()
    assert platform.node() not in str({name: facts[name] for name in ("cpu", "system", "blas")})


def test_cpu_time_includes_other_threads() -> None:
    import threading

    def spin() -> None:
        until = machine.cpu_seconds() + 0.05
        while machine.cpu_seconds() < until:
            pass

    start = machine.cpu_seconds()
    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    assert machine.cpu_seconds() - start >= 0.05
