"""Phases of a build, and the one callback that hears of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from pageann.errors import BuildCancelled
from pageann.index.builder.residency import give_back_memory
from pageann.results import Progress

__all__ = ["Phases", "ProgressCallback"]

ProgressCallback = Callable[[Progress], bool | None]

_LEAST_SECONDS_BETWEEN = 0.1


class Phases:
    """Times the phases of a build and tells ``callback``, which may return False to cancel.

    ``weights`` names the phases in order, with what each costs of the whole; names alone: the same each.
    """

    def __init__(
        self, weights: Mapping[str, float] | Sequence[str], callback: ProgressCallback | None
    ) -> None:
        if not isinstance(weights, Mapping):
            weights = dict.fromkeys(weights, 1.0)
        self._names = tuple(weights)
        whole = sum(weights.values())
        self._shares = {name: weight / whole for name, weight in weights.items()}
        self._callback = callback
        self._begin = self._phase_begin = self._told = time.monotonic()
        self._phase_first = 0
        self._current = ""
        self._note = ""
        self._seconds: list[tuple[str, float]] = []
        self.fraction = 0.0
        """How much of the whole build is done; it never falls."""

    def note(self, text: str, fraction: float = 0.0) -> None:
        """Pass ``text`` on with the next event; an earlier build had got as far as ``fraction``."""
        self._note = text
        self.fraction = max(self.fraction, fraction)

    def start(self, name: str) -> Callable[[int, int], None]:
        """Begin a phase; returns what reports its progress as (done, total)."""
        self._close_phase()
        self._current = name
        self._phase_begin = time.monotonic()
        self._phase_first = -1
        self._tell(0, 0, always=True)

        def done(finished: int, total: int) -> None:
            if self._phase_first < 0:
                self._phase_first = finished - 1  # what came before was done by an earlier build
            self._tell(finished, total, always=finished == total)

        return done

    def finish(self) -> tuple[tuple[str, float], ...]:
        """(name, seconds) of all phases."""
        self._close_phase()
        return tuple(self._seconds)

    @property
    def elapsed_seconds(self) -> float:
        """Since the start of the build."""
        return time.monotonic() - self._begin

    def _close_phase(self) -> None:
        if self._current:
            self._seconds.append((self._current, time.monotonic() - self._phase_begin))
            self._current = ""
            give_back_memory()

    def _advance(self, finished: int, total: int) -> None:
        number = self._names.index(self._current)
        before = sum(self._shares[name] for name in self._names[:number])
        here = self._shares[self._current] * (finished / total if total else 0.0)
        self.fraction = min(1.0, max(self.fraction, before + here))

    def _tell(self, finished: int, total: int, *, always: bool) -> None:
        self._advance(finished, total)
        now = time.monotonic()
        if self._callback is None or (not always and now - self._told < _LEAST_SECONDS_BETWEEN):
            return
        self._told = now
        spent = now - self._phase_begin
        rate = (finished - max(0, self._phase_first)) / spent if spent > 0 else 0.0
        event = Progress(
            phase=self._current,
            phase_number=self._names.index(self._current) + 1,
            phase_count=len(self._names),
            done=finished,
            total=total,
            rate_per_second=rate,
            eta_seconds=(total - finished) / rate if rate > 0 else math.inf,
            elapsed_seconds=now - self._begin,
            fraction=self.fraction,
            note=self._note,
        )
        self._note = ""
        if self._callback(event) is False:
            raise BuildCancelled("the build was cancelled; nothing was published")
