"""A driver opened before a fork is refused in the child, and unharmed in the parent.

The child has none of the pool's threads, so a batch there would wait for ever; and its ring is the
parent's own memory, so a child that pushed would send the parent's reads astray.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable

import numpy as np
import pytest

from pageann.errors import IndexClosed
from pageann.storage.io.files import OpenedFile
from pageann.storage.io.ring import Ring
from tests.storage.io.batches import batch_of, make_driver, read


def in_child(check: Callable[[], None]) -> None:
    """Run ``check`` in a forked child; fails if it fails there."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            check()
            report = ""
        except BaseException:
            report = traceback.format_exc()
        os.write(writing, report.encode()[-4000:])
        os._exit(1 if report else 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, report or f"the child ended with status {status}"


def ring_descriptors() -> list[str]:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return [name for name in names if "io_uring" in name]


def test_a_child_is_refused_and_the_parent_reads_on(driver_name: str, buffered: OpenedFile) -> None:
    driver = make_driver(driver_name)
    batch = batch_of([(buffered.fd, i * 100, 100) for i in range(30)])
    assert read(driver, batch) == [100] * 30

    def check() -> None:
        with pytest.raises(IndexClosed, match=f"{driver_name} driver was opened before"):
            read(driver, batch)
        driver.close()
        with make_driver(driver_name) as own:
            assert read(own, batch) == [100] * 30

    in_child(check)
    batch.results[:] = 0
    assert read(driver, batch) == [100] * 30
    driver.close()


def test_a_child_lets_go_of_rings(uring: None) -> None:
    from pageann.storage.io.uring_kernels import ring_push_poll, ring_reap, ring_submit_wait

    with Ring(4) as ring:
        state = ring.state
        assert ring_descriptors()

        def check() -> None:
            assert ring.closed
            assert ring_descriptors() == []
            assert not ring_push_poll(state, 0, 1)
            assert ring_submit_wait(state, 1, -1) == -errno.EBADF
            assert ring_reap(state, np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int32)) == 0
            ring.close()

        in_child(check)
        assert not ring.closed
        assert ring_submit_wait(state, 0, -1) == 0
