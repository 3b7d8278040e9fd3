"""Registered memory and files are a shorter way to the same bytes; without them reads go the long one."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

import numpy as np
import pytest

from pageann.storage.io import ring as ring_module
from pageann.storage.io.faults import Fault, FaultKind, FaultTable
from pageann.storage.io.files import AlignedBuffer, OpenedFile
from pageann.storage.io.ring import Ring
from pageann.storage.io.ring_state import IN_FLIGHT_COUNT, MEMORY_END, SQ_ENTRIES, SQ_MASK, SQ_TAIL_COUNT
from pageann.storage.io.uring_kernels import ring_drain, ring_push_read, ring_reap, ring_submit_wait

PAGE_BYTES = 4096
READ, READ_FIXED = 22, 4
FIXED_FILE = 1

pytestmark = pytest.mark.usefixtures("uring")


def last_entry(ring: Ring) -> tuple[int, int, int]:
    """(operation, flags, file) of what was pushed last."""
    tail = int(ring.state[SQ_TAIL_COUNT]) - 1
    entry = (ctypes.c_uint8 * 64).from_address(
        int(ring.state[SQ_ENTRIES]) + 64 * (tail & int(ring.state[SQ_MASK]))
    )
    return entry[0], entry[1], int.from_bytes(bytes(entry[4:8]), "little")


def read(
    ring: Ring, fd: int, page: int, address: int, nbytes: int = PAGE_BYTES
) -> tuple[int, tuple[int, int, int]]:
    """(result, entry) of one read."""
    assert ring_push_read(ring.state, fd, page * PAGE_BYTES, nbytes, address, page)
    entry = last_entry(ring)
    ring_submit_wait(ring.state, 1, -1)
    user_data, results = np.zeros(1, np.int64), np.zeros(1, np.int32)
    assert ring_reap(ring.state, user_data, results) == 1
    return int(results[0]), entry


@pytest.mark.parametrize("faults", [(), (Fault(FaultKind.SHORT, 512, offset=0, times=0),)])
def test_reads_bring_the_same_bytes(
    direct: OpenedFile, buffered: OpenedFile, content: bytes, faults: tuple[Fault, ...]
) -> None:
    with Ring(8, FaultTable(faults)) as ring, AlignedBuffer(4 * PAGE_BYTES) as buffer:
        assert ring.register_files([direct.fd, buffered.fd])
        assert ring.register_memory(buffer.address, 2 * PAGE_BYTES)
        for number, file in enumerate((direct, buffered)):
            for place, operation in enumerate((READ_FIXED, READ_FIXED, READ, READ)):
                page = 5 * number + place
                result = read(ring, file.fd, page, buffer.address + place * PAGE_BYTES)
                assert result == (PAGE_BYTES, (operation, FIXED_FILE, number))
                there = buffer.array[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]
                assert there.tobytes() == content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]
        across = read(ring, direct.fd, 0, buffer.address + PAGE_BYTES, 2 * PAGE_BYTES)
        assert across == (2 * PAGE_BYTES, (READ, FIXED_FILE, 0)), "a part of it is not registered"
        ring.unregister_memory()
        assert read(ring, direct.fd, 0, buffer.address)[1][0] == READ
        assert ring.register_memory(buffer.address, buffer.nbytes), "again, and another piece"
        assert read(ring, direct.fd, 0, buffer.address + 3 * PAGE_BYTES)[1][0] == READ_FIXED


def test_other_files_and_bad_descriptors_are_what_they_were(direct: OpenedFile, buffered: OpenedFile) -> None:
    with Ring(8) as ring, AlignedBuffer(PAGE_BYTES) as buffer:
        assert ring.register_files([direct.fd])
        assert read(ring, buffered.fd, 0, buffer.address) == (PAGE_BYTES, (READ, 0, buffered.fd))
        assert read(ring, -1, 0, buffer.address)[0] == -errno.EBADF
        assert read(ring, 1 << 20, 0, buffer.address)[0] == -errno.EBADF


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EINVAL, errno.EPERM])
def test_a_refusal_leaves_all_as_it_was(
    direct: OpenedFile, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with Ring(8) as ring, AlignedBuffer(PAGE_BYTES) as buffer:
        with monkeypatch.context() as patched:
            patched.setattr(ring_module, "system_call", lambda *arguments: -number)
            assert not ring.register_files([direct.fd])
            assert not ring.register_memory(buffer.address, PAGE_BYTES)
        assert read(ring, direct.fd, 0, buffer.address) == (PAGE_BYTES, (READ, 0, direct.fd))


def test_memory_is_not_let_go_while_reads_are_in_flight(direct: OpenedFile, monkeypatch: Any) -> None:
    """The kernel would wait for them, and those of a ring in trouble may never end."""
    with Ring(8) as ring, AlignedBuffer(PAGE_BYTES) as buffer:
        assert ring.register_memory(buffer.address, PAGE_BYTES)
        assert ring_push_read(ring.state, direct.fd, 0, PAGE_BYTES, buffer.address, 0)
        ring.unregister_memory()
        assert ring.state[MEMORY_END] > 0
        ring_drain(ring.state, np.zeros(1, np.int64), np.zeros(1, np.int32))
        assert ring.state[IN_FLIGHT_COUNT] == 0
        ring.unregister_memory()
        assert ring.state[MEMORY_END] == 0


def test_a_closed_ring_registers_nothing(direct: OpenedFile) -> None:
    ring = Ring(8)
    with AlignedBuffer(PAGE_BYTES) as buffer:
        assert ring.register_memory(buffer.address, PAGE_BYTES)
        ring.close()
        ring.unregister_memory()
        assert not ring.register_files([direct.fd])
        assert not ring.register_memory(buffer.address, PAGE_BYTES)
