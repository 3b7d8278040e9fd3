"""A close waits for the calls that read files beside the engine, and lets no more of them in.

Guarded: a descriptor that is closed, or names another file by then, under a scan that still reads.
"""

from __future__ import annotations

import threading

import pytest

from pageann.errors import IndexClosed
from pageann.index.search.visits import Lease, Visits


def test_close_waits_for_those_inside() -> None:
    visits, entered, leave = Visits(), threading.Event(), threading.Event()
    seen: list[str] = []

    def visit() -> None:
        with visits.inside():
            entered.set()
            assert leave.wait(30)
            seen.append("left")

    def close() -> None:
        visits.close()
        seen.append("closed")

    visitor, closer = threading.Thread(target=visit), threading.Thread(target=close)
    visitor.start()
    assert entered.wait(30)
    closer.start()
    for _ in range(3000):
        closer.join(0.01)
        if visits._closed:
            break
    assert visits._closed
    assert closer.is_alive()
    with pytest.raises(IndexClosed):
        visits.inside().__enter__()
    leave.set()
    for thread in (visitor, closer):
        thread.join(30)
        assert not thread.is_alive()
    assert seen == ["left", "closed"]


def test_a_visit_that_fails_is_over() -> None:
    visits = Visits()
    with pytest.raises(ZeroDivisionError), visits.inside():
        raise ZeroDivisionError
    visits.close()


def test_what_is_on_lease_is_closed_by_its_last_user() -> None:
    closed: list[int] = []
    lease = Lease(lambda: closed.append(1))
    with lease:
        pass
    assert not closed
    with lease:
        with lease:
            lease.give_up()
        assert not closed
    assert closed == [1]


def test_what_nobody_uses_is_closed_at_once() -> None:
    closed: list[int] = []
    lease = Lease(lambda: closed.append(1))
    with pytest.raises(ZeroDivisionError), lease:
        raise ZeroDivisionError
    lease.give_up()
    assert closed == [1]
