"""What a worker takes: a range of one call, or several small calls, which others join as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pageann.index.kernels.state import (
    FLOW_ENDED,
    FLOW_LAST,
    GONE,
    N_DEADLINE_NS,
)
from pageann.index.search.answers import UNANSWERED, Answers
from pageann.index.search.calls import Call
from pageann.index.search.engine_options import CallOptions
from pageann.index.search.part import Part

__all__ = ["Job", "JointJob", "ShareJob"]


class Job(Protocol):
    """Queries that a worker answers, and the calls that they belong to."""

    part: Part

    @property
    def goes_on(self) -> bool:
        """Whether a worker that has looked up has more to do for it."""
        ...

    def collect(self) -> list[Call]:
        """The calls whose queries have ended here since the last time; they leave the job."""
        ...

    def leave(self) -> list[Call]:
        """The calls that are left in it, ended or not; they leave it too."""
        ...

    def give_up(self, call: Call) -> None:
        """Begin no further round of ``call``, for which nobody waits any more."""
        ...


class ShareJob:
    """A range of one call, all of which a worker answers before it looks up."""

    goes_on = False

    def __init__(self, call: Call, first: int, last: int) -> None:
        self.part = call.part(first, last)
        self._calls = [call]

    def collect(self) -> list[Call]:
        """The call, once all of the range has ended."""
        return self.leave() if self.part.all_ended else []

    def leave(self) -> list[Call]:
        """The call, the first time."""
        calls, self._calls = self._calls, []
        return calls

    def give_up(self, call: Call) -> None:
        """End soon if it is of that call: there is no other in it."""
        if call in self._calls:
            self.part.asked.stop[0] = 1


class JointJob:
    """Small calls of equal settings; each query has a row of arrays of ``rows`` rows while it is answered."""

    def __init__(self, options: CallOptions, dim: int, rows: int) -> None:
        self.options = options
        """As all its calls have them, without a deadline."""
        self._joined_meanwhile = 0
        """Queries that have joined since calls of other settings wait."""
        self.part = Part.of(
            np.empty((rows, dim), np.float32), options, np.empty(rows, np.int64),
            Answers.room(rows, options.size.k), np.empty(rows, np.int64), np.zeros(1, np.int64),
            is_joint=True,
        )  # fmt: skip
        self.part.asked.flow[FLOW_LAST] = 0
        self._free = list(range(rows - 1, -1, -1))
        self._owners: dict[int, Call] = {}
        """The call of each row whose query has not ended."""
        self._rows: dict[Call, list[int]] = {}
        """Of each call; they are free again when all its queries have ended."""
        self._unanswered: dict[Call, int] = {}
        """Queries of each call that have not ended."""

    @property
    def room(self) -> int:
        """How many queries may join: while others wait, in all no more than there are rows."""
        return min(len(self._free), len(self.part.asked.order) - self._joined_meanwhile)

    @property
    def goes_on(self) -> bool:
        """Whether there are queries that have not ended, nor are to end now."""
        return bool(self._owners) and self.part.asked.stop[0] == 0

    def let_join(self, calls: Sequence[Call], others_wait: bool) -> None:
        """Admit ``calls`` to a job that runs, while ``others_wait`` for its end or none does."""
        for call in calls:
            self.admit(call)
        if others_wait:
            self._joined_meanwhile += sum(len(call) for call in calls)
        else:
            self._joined_meanwhile = 0

    def admit(self, call: Call) -> None:
        """Begin with the queries of ``call``, no more than there is room for."""
        asked, flow = self.part.asked, self.part.asked.flow
        rows = [self._free.pop() for _ in range(len(call))]
        for query, row in enumerate(rows):
            self._owners[row] = call
            asked.queries[row] = call.queries[query]
            asked.excluded[row] = call.excluded[query]
            asked.counts[row] = UNANSWERED
            asked.counters[row, N_DEADLINE_NS] = call.options.deadline_ns
            asked.order[flow[FLOW_LAST] % len(asked.order)] = row
            flow[FLOW_LAST] += 1
        self._rows[call] = rows
        self._unanswered[call] = len(rows)

    def collect(self) -> list[Call]:
        """The calls whose last query has ended, with the answers that are theirs."""
        asked = self.part.asked
        complete = []
        for row in asked.ended[: asked.flow[FLOW_ENDED]].tolist():
            call = self._owners.pop(row)
            self._unanswered[call] -= 1
            if self._unanswered[call] == 0:
                call.answers = self.part.answers.copy_of(self._rows[call])
                self._free.extend(self._rows.pop(call))
                del self._unanswered[call]
                complete.append(call)
        asked.flow[FLOW_ENDED] = 0
        return complete

    def leave(self) -> list[Call]:
        """The calls that are left in it."""
        calls = list(self._unanswered)
        for table in (self._unanswered, self._rows, self._owners):
            table.clear()
        return calls

    def give_up(self, call: Call) -> None:
        """Begin no further round of ``call``; others go on."""
        self.part.asked.counters[self._rows.get(call, []), N_DEADLINE_NS] = GONE
