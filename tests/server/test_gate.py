"""The queue is bounded, in order, and holds nobody beyond a deadline."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic

import pytest

from pageann.errors import DeadlineUnserved, Overloaded
from pageann.server.gate import Gate


def test_turns_come_in_the_order_of_asking() -> None:
    async def everything() -> None:
        gate, order = Gate(1, 10), list[int]()

        async def call(number: int) -> None:
            await gate.enter(inf)
            order.append(number)
            gate.leave(monotonic())

        assert gate.try_enter()
        calls = [asyncio.create_task(call(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert (gate.inside, gate.waiting) == (1, 5)
        assert not gate.try_enter()
        gate.leave(monotonic())
        await asyncio.gather(*calls)
        assert order == [0, 1, 2, 3, 4]
        assert (gate.inside, gate.waiting) == (0, 0)

    asyncio.run(everything())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def everything() -> None:
        gate = Gate(2, 1)
        assert gate.try_enter()
        assert gate.try_enter()
        waiting = asyncio.create_task(gate.enter(inf))
        await asyncio.sleep(0)
        for _ in range(100):
            with pytest.raises(Overloaded, match="full") as caught:
                await gate.enter(inf)
        assert caught.value.retry_after_seconds >= 0
        gate.leave(monotonic() - 10.0)
        await waiting
        assert gate.inside == 2

    asyncio.run(everything())


def test_whoever_would_come_too_late_is_not_queued() -> None:
    async def everything() -> None:
        gate = Gate(1, 10)
        for _ in range(100):
            assert gate.try_enter()
            gate.leave(monotonic() - 2.0)  # a call that took two seconds
        assert gate.try_enter()
        with pytest.raises(Overloaded, match="longer than the deadline") as caught:
            await gate.enter(0.5)
        assert 1.0 < caught.value.retry_after_seconds < 3.0
        assert gate.waiting == 0

    asyncio.run(everything())


def test_a_deadline_ends_the_waiting() -> None:
    async def everything() -> None:
        gate = Gate(1, 10)
        assert gate.try_enter()
        started = monotonic()
        with pytest.raises(DeadlineUnserved):
            await gate.enter(0.05)
        assert monotonic() - started < 5.0
        assert (gate.inside, gate.waiting) == (1, 0)

    asyncio.run(everything())


def test_a_cancelled_call_passes_its_turn_on() -> None:
    async def everything() -> None:
        gate = Gate(1, 10)
        assert gate.try_enter()
        first, second = (asyncio.create_task(gate.enter(inf)) for _ in range(2))
        await asyncio.sleep(0)
        gate.leave(monotonic())
        first.cancel()  # after its turn has come, before it has seen that
        await asyncio.wait([first, second], timeout=5.0)
        assert first.cancelled()
        assert second.done()
        assert not second.cancelled()
        assert (gate.inside, gate.waiting) == (1, 0)

    asyncio.run(everything())
