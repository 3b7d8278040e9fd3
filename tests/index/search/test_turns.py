"""Turns at the memory of queries: shared ones overlap, one for all of it waits and is not passed."""

import threading

from pageann.index.search.turns import Turns

_SECONDS = 30


class _Entrant:
    """A thread that takes a turn and keeps it until told to leave."""

    def __init__(self, turn) -> None:
        self.inside = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._stay, args=(turn,), daemon=True)
        self._thread.start()

    def _stay(self, turn) -> None:
        with turn:
            self.inside.set()
            self._leave.wait(_SECONDS)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive()


def _announced(turns: Turns) -> Turns:
    """Have asking notify, so that a test can wait for who waits."""
    queue_up = turns._queue_up

    def queue_up_aloud(admissible) -> None:
        turns._changed.notify_all()  # heard once the lock is given up, when the asker is counted
        queue_up(admissible)

    turns._queue_up = queue_up_aloud
    return turns


def _wait_for_arrival(turns: Turns, count: int) -> None:
    with turns._changed:
        assert turns._changed.wait_for(lambda: turns._arrived >= count, _SECONDS)


def test_shared_turns_overlap() -> None:
    turns = Turns()
    first, second = _Entrant(turns.shared()), _Entrant(turns.shared())
    assert first.inside.wait(_SECONDS)
    assert second.inside.wait(_SECONDS)
    first.leave()
    second.leave()


def test_alone_waits_for_those_inside_and_is_not_passed() -> None:
    turns = _announced(Turns())
    sharing = _Entrant(turns.shared())
    assert sharing.inside.wait(_SECONDS)
    alone = _Entrant(turns.alone())
    _wait_for_arrival(turns, 2)
    late = _Entrant(turns.shared())
    _wait_for_arrival(turns, 3)
    assert not alone.inside.is_set()
    assert not late.inside.is_set()
    sharing.leave()
    assert alone.inside.wait(_SECONDS)
    assert not late.inside.is_set()
    alone.leave()
    assert late.inside.wait(_SECONDS)
    late.leave()


def test_what_others_keep_is_given_back_before_a_turn_alone() -> None:
    turns = Turns()
    freed = []
    turns.keep(lambda: freed.append("kept"))
    with turns.shared():
        assert not freed
    with turns.alone():
        assert freed == ["kept"]


def test_a_failed_turn_lets_the_next_in() -> None:
    turns = Turns()
    for turn in (turns.alone, turns.shared, turns.alone):
        try:
            with turn():
                raise OSError("no memory")
        except OSError:
            pass
    with turns.shared():
        pass
