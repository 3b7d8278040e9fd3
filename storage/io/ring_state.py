"""Places in the int64 array by which kernels know a ring; written by ``ring``, read by ``uring_kernels``.

Addresses are of this process; heads and tails are counted without wrap-around here, and cut to 32
bits where they meet the kernel's.
"""

from __future__ import annotations

__all__ = [
    "ARGUMENT",
    "CQ_ENTRIES",
    "CQ_ENTRY_COUNT",
    "CQ_HEAD",
    "CQ_HEAD_COUNT",
    "CQ_MASK",
    "CQ_TAIL",
    "FAULT_COUNT",
    "FAULT_ROWS",
    "FIRST_FILE",
    "IN_FLIGHT_COUNT",
    "MEMORY_END",
    "MEMORY_START",
    "RING_FD",
    "SECOND_FILE",
    "SQ_ENTRIES",
    "SQ_ENTRY_COUNT",
    "SQ_HEAD",
    "SQ_MASK",
    "SQ_TAIL",
    "SQ_TAIL_COUNT",
    "STATE_LENGTH",
    "UNMADE",
    "UNMADE_COUNT",
]

RING_FD = 0
"""The ring's descriptor; -1 once it is closed: kernels then touch nothing."""
SQ_HEAD = 1
"""Address of the submission queue's head (uint32, moved by the kernel)."""
SQ_TAIL = 2
"""Address of the submission queue's tail (uint32, moved by us)."""
SQ_MASK = 3
SQ_ENTRY_COUNT = 4
SQ_ENTRIES = 5
"""Address of the submission entries, 64 bytes each."""
CQ_HEAD = 6
"""Address of the completion queue's head (uint32, moved by us)."""
CQ_TAIL = 7
"""Address of the completion queue's tail (uint32, moved by the kernel)."""
CQ_MASK = 8
CQ_ENTRY_COUNT = 9
CQ_ENTRIES = 10
"""Address of the completions, 16 bytes each."""
SQ_TAIL_COUNT = 11
"""Entries pushed since the ring was made; published to SQ_TAIL at the next submit."""
CQ_HEAD_COUNT = 12
"""Completions taken since the ring was made."""
IN_FLIGHT_COUNT = 13
"""Pushed and not yet reaped."""
FAULT_ROWS = 14
"""Address of the rows of the fault table."""
FAULT_COUNT = 15
"""Number of its rows: 0 in production."""
UNMADE = 16
"""Address of pairs (user_data, result) of reads that a fault kept from being made."""
UNMADE_COUNT = 17
"""Number of such pairs that wait to be reaped."""
ARGUMENT = 18
"""Address of 5 int64: the extended argument of io_uring_enter (3) and its timespec (2)."""
MEMORY_START = 19
"""Address of the memory that is registered."""
MEMORY_END = 20
"""And of what is behind it; 0: none is."""
FIRST_FILE = 21
"""Descriptor of the file that is registered as number 0; -1: none is."""
SECOND_FILE = 22
"""And as number 1."""
STATE_LENGTH = 28
"""Length of the array: the argument lies in its last 5 places."""
