"""A search meets a fault at any of its reads, or its ring refuses to work: a typed error or the right answer.

The faults of one search are tried one by one, at the first read, the second, and so on to the last, in every
kind of segment and over every driver. The engine answers the next call as if nothing had been.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pageann.errors import StorageError
from pageann.index.kernels import state
from pageann.index.search import desks
from pageann.results import StopReason
from pageann.storage.io.faults import Fault, FaultKind
from pageann.storage.io.ring import Ring, RingParameters
from pageann.storage.io.ring_state import RING_FD
from tests.index.search.engines import KINDS, Sample, assert_same, running

LATE_US = 20_000


@pytest.mark.parametrize("name", KINDS)
def test_an_error_or_a_piece_at_each_read_of_a_search(
    sample_of: Callable[[str], Sample], driver: str, name: str
) -> None:
    sample = sample_of(name)
    asked, options = sample.asked[:1], sample.options(effort=24)
    segment = sample.load()
    with running(segment, driver, workers=1) as engine:
        expected = engine.run(asked, options)
    reads = int(expected.counters[0, state.N_READS])
    assert reads > 0
    for number in range(reads):
        broken = [Fault(FaultKind.ERROR, errno.EIO, skip=number)]
        with running(segment, driver, workers=1, faults=broken) as engine:
            with pytest.raises(StorageError, match=r"\.bin: page [0-9]+ cannot be read: EIO"):
                engine.run(asked, options)
            assert_same(engine.run(asked, options), expected)
        with running(segment, driver, workers=1, faults=[Fault(FaultKind.SHORT, 512, skip=number)]) as engine:
            assert_same(engine.run(asked, options), expected)
    segment.close()


@pytest.mark.parametrize("name", ["walk", "two-steps"])
def test_late_reads_and_a_deadline(sample_of: Callable[[str], Sample], driver: str, name: str) -> None:
    """Reads that were begun are waited for, and no round is begun after the deadline."""
    sample = sample_of(name)
    segment = sample.load()
    asked = sample.asked[:1]
    with running(segment, driver, workers=1) as engine:
        hops = int(engine.run(asked, sample.options(next_width=1)).counters[0, state.N_HOPS])
    assert hops > 2
    late = [Fault(FaultKind.DELAY, LATE_US, times=-1)]
    with running(segment, driver, workers=1, faults=late) as engine:
        soon = time.monotonic_ns() + 1500 * LATE_US
        found = engine.run(asked, sample.options(next_width=1, deadline_ns=soon))
    assert found.counters[0, state.N_HOPS] <= 2
    assert found.counters[0, state.N_STOP] == StopReason.DEADLINE
    count = int(found.counts[0])
    exact = sample.distances[0, found.rows[0, :count]]
    np.testing.assert_allclose(found.distances[0, :count], exact, rtol=1e-5)
    segment.close()


def refusing_ring(number: int) -> Callable[..., Ring]:
    """Rings that the kernel refuses."""
    return lambda entries, faults: Ring(entries, faults, set_up=lambda count, parameters: -number)


def unmapped_ring(entries: int, faults: Any) -> Ring:
    """A ring that is made, and cannot be mapped."""

    def set_up(count: int, parameters: RingParameters) -> int:
        parameters.features, parameters.sq_entries, parameters.cq_entries = 0xFFFF, count, 2 * count
        return os.open(os.devnull, os.O_RDONLY)

    return Ring(entries, faults, set_up=set_up)


class DeafRing(Ring):
    """A ring whose entering fails: its descriptor is one of another kind."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.real, self.other = int(self.state[RING_FD]), os.open(os.devnull, os.O_RDONLY)
        self.state[RING_FD] = self.other

    def close(self) -> None:
        os.close(self.other)
        super().close()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (refusing_ring(errno.EPERM), "io_uring_setup: EPERM"),
        (refusing_ring(errno.ENOMEM), "io_uring_setup: ENOMEM"),
        (refusing_ring(errno.EMFILE), "io_uring_setup: EMFILE"),
        (unmapped_ring, "io_uring mmap: E"),
        (DeafRing, "io_uring_enter: E"),
    ],
    ids=["EPERM", "ENOMEM", "EMFILE", "mmap", "enter"],
)
def test_a_ring_that_cannot_be_used(
    sample_of: Callable[[str], Sample], make: Any, what: str, monkeypatch: pytest.MonkeyPatch, uring: None
) -> None:
    sample = sample_of("codes")
    segment = sample.load()
    asked, options = sample.asked[:3], sample.options()
    before = len(os.listdir("/proc/self/fd"))
    with running(segment, "uring", workers=2) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(desks, "Ring", make)
            for _ in range(3):
                with pytest.raises(StorageError, match=what):
                    engine.run(asked, options, workers=1)
        found = engine.run(asked, options)
    assert (found.counts == 10).all()
    assert len(os.listdir("/proc/self/fd")) == before
    segment.close()
