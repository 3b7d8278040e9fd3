"""What one worker runs at a time: some of the queries of a call, or those of several small calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.state import (
    FLOW_COUNT,
    FLOW_ENDED,
    FLOW_ENOUGH,
    FLOW_LAST,
    FLOW_LIVE,
    FLOW_NEXT,
    FLOW_WAIT_US,
    Asked,
)
from pageann.index.search.answers import Answers
from pageann.index.search.engine_options import CallOptions

__all__ = ["Part", "TurnOver", "nothing_more"]

_HANDED_OUT = 2
"""Answers are handed out when one in so many queries has ended: each time takes the interpreter's lock."""
_LEAST_SHARED = 32
"""The same share of so many where memory allows fewer in flight: waking up would cost more than searching."""
_WAIT_US = 5000
"""How long answers that are there, and calls that could join, wait for a read that is late."""

TurnOver = Callable[[bool], bool]
"""Hands out what is answered, lets more queries join if told that they may, and says whether to go on."""


def nothing_more(may_join: bool) -> bool:
    """The :data:`TurnOver` of a part that stays as it is, whose answers are looked at afterwards."""
    return False


@dataclass(frozen=True, slots=True)
class Part:
    """Queries to be searched alike, and where their answers go."""

    options: CallOptions
    asked: Asked
    answers: Answers
    """Of all queries of ``asked``, in the same memory."""
    is_joint: bool
    """Whether it is of several calls, each to be answered as soon as it can be, and more may join."""

    @classmethod
    def of(
        cls,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64],
        answers: Answers,
        order: npt.NDArray[np.int64],
        stop: npt.NDArray[np.int64],
        *,
        is_joint: bool = False,
    ) -> Self:
        """The rows ``order`` of ``queries`` (q, dim), of ``excluded`` (q,) and of ``answers``.

        ``stop`` (1,) is set to 1 to end early.
        """
        flow = np.zeros(FLOW_COUNT, np.int64)
        flow[FLOW_LAST] = flow[FLOW_ENOUGH] = len(order)
        flow[FLOW_WAIT_US] = _WAIT_US if is_joint else -1
        asked = Asked(
            queries, excluded, answers.rows, answers.distances, answers.slots, answers.counts,
            answers.counters, order, np.empty_like(order), flow, stop,
        )  # fmt: skip
        return cls(options, asked, answers, is_joint)

    def pace(self, slots: int) -> None:
        """Say when answers are to be handed out next, of a worker that has ``slots`` queries in flight."""
        if self.is_joint:
            flow = self.asked.flow
            unended = flow[FLOW_LIVE] + flow[FLOW_LAST] - flow[FLOW_NEXT]
            flow[FLOW_ENOUGH] = max(1, min(unended, max(slots, _LEAST_SHARED)) // _HANDED_OUT)

    @property
    def all_ended(self) -> bool:
        """Whether all queries of a part that stays as it is have ended."""
        flow = self.asked.flow
        return bool(flow[FLOW_ENDED] == flow[FLOW_LAST])
