"""Who leads and who follows: a follower that is forgotten waits for ever, or is given another page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.index.kernels import sharing
from pageann.index.kernels.state import COUNTER_COUNT, N_PENDING, N_WANTED, P_EXACT_LAYOUT, P_PAGE_LAYOUT

WIDTH = 4
PAGE_BYTES = 16
STEPS = 120


class Reads(NamedTuple):
    """What the kernels take of a worker's memory."""

    counters: NDArray[np.int64]
    wanted: NDArray[np.int64]
    wanted_addresses: NDArray[np.int64]
    wanted_results: NDArray[np.int32]
    read_keys: NDArray[np.int64]
    read_table: NDArray[np.int32]
    read_chain: NDArray[np.int32]
    read_followers: NDArray[np.int32]


@dataclass
class Twin:
    """Rows of reads, and by key the places that want it: first who leads."""

    slots: int
    memory: NDArray[np.uint8] = field(init=False)
    reads: Reads = field(init=False)
    wanting: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = self.slots * WIDTH
        self.memory = np.zeros((places, PAGE_BYTES), np.uint8)
        shape = (self.slots, WIDTH)
        addresses = self.memory.ctypes.data + PAGE_BYTES * np.arange(places, dtype=np.int64)
        self.reads = Reads(
            np.zeros((self.slots, COUNTER_COUNT), np.int64), np.zeros(shape, np.int64),
            addresses.reshape(shape), np.zeros(shape, np.int32), np.zeros(places, np.int64),
            np.zeros(places + 1, np.int32), np.zeros(places, np.int32), np.zeros(places, np.int32),
        )  # fmt: skip

    def begin(self, slot: int, keys: list[int]) -> None:
        """A round of row ``slot``."""
        self.reads.counters[slot, N_WANTED] = self.reads.counters[slot, N_PENDING] = len(keys)
        self.reads.wanted_results[slot] = 0
        for i, key in enumerate(keys):
            place = slot * WIDTH + i
            self.memory[place] = 0
            leads = sharing.lead_or_follow(self.reads, place, key)
            assert leads == (key not in self.wanting)
            self.wanting.setdefault(key, []).append(place)

    def end(self, key: int, result: int, filling: int) -> None:
        """The read of ``key`` ends, with a page full of ``filling``."""
        first, *others = self.wanting.pop(key)
        pending = self.reads.counters[:, N_PENDING].copy()
        self.memory[first] = filling
        sharing.end_read(self.reads, first, result, PAGE_BYTES)
        for place in (first, *others):
            assert self.reads.wanted_results.flat[place] == result
            assert self.reads.read_keys[place] == 0
            pending[place // WIDTH] -= 1
        if result == PAGE_BYTES:
            assert (self.memory[[first, *others]] == filling).all()
        np.testing.assert_array_equal(self.reads.counters[:, N_PENDING], pending)

    def retire(self, slot: int) -> None:
        """The query of row ``slot`` ends before its reads."""
        own = [key for key, places in self.wanting.items() if places[0] // WIDTH == slot]
        for places in self.wanting.values():
            places[1:] = [place for place in places[1:] if place // WIDTH != slot]
        assert sharing.stop_following(self.reads, slot) == len(own)
        for key in own:
            first, *others = self.wanting.pop(key)
            heir = sharing.pass_on(self.reads, first)
            assert (heir in others) if others else heir == -1
            if others:
                self.wanting[key] = [heir, *(place for place in others if place != heir)]
        self.reads.counters[slot, N_PENDING] = 0

    def check(self) -> None:
        """The table holds one read for each page that is wanted."""
        assert self.reads.read_table[-1] == len(self.wanting)
        leading = set(np.flatnonzero(self.reads.read_keys)) - {
            place for places in self.wanting.values() for place in places[1:]
        }
        assert leading == {places[0] for places in self.wanting.values()}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(WIDTH, 40))
def test_a_page_is_read_once_and_reaches_all_who_want_it(seed: int, slots: int, pages: int) -> None:
    random = np.random.default_rng(seed)
    twin = Twin(slots)
    for step in range(STEPS):
        slot = int(random.integers(slots))
        if random.random() < 0.02:
            sharing.forget_reads(twin.reads)
            twin.wanting.clear()
            twin.reads.read_keys[:] = 0
            twin.reads.counters[:, N_PENDING] = 0
        elif twin.reads.counters[slot, N_PENDING] == 0:
            count = int(random.integers(1, WIDTH + 1))
            twin.begin(slot, (1 + random.choice(pages, count, replace=False)).tolist())
        elif random.random() < 0.1:
            twin.retire(slot)
        else:
            key = list(twin.wanting)[random.integers(len(twin.wanting))]
            twin.end(key, int(random.choice([PAGE_BYTES, PAGE_BYTES, 3, -5])), step + 1)
        twin.check()


@pytest.mark.parametrize("page", [0, 1, 2**40])
def test_pages_of_the_two_files_are_not_taken_for_one_another(page: int) -> None:
    keys = [
        sharing.read_key(layout, page + more) for layout in (P_PAGE_LAYOUT, P_EXACT_LAYOUT) for more in (0, 1)
    ]
    assert len(set(keys)) == 4
    assert min(keys) > 0
