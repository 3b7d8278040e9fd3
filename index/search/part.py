"""What one worker runs at a time: some of the queries of a call, or those of several small calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.state import FLOW_COUNT, FLOW_ENDED, FLOW_ENOUGH, FLOW_LAST, Asked
from pageann.index.search.answers import Answers
from pageann.index.search.engine_options import CallOptions

__all__ = ["Part", "TurnOver", "nothing_more"]

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

    @classmethod
    def of(
        cls,
        queries: npt.NDArray[np.float32],
        options: CallOptions,
        excluded: npt.NDArray[np.int64],
        answers: Answers,
        order: npt.NDArray[np.int64],
        stop: npt.NDArray[np.int64],
    ) -> Self:
        """The rows ``order`` of ``queries`` (q, dim), of ``excluded`` (q,) and of ``answers``.

        ``stop`` (1,) is set to 1 to end early.
        """
        flow = np.zeros(FLOW_COUNT, np.int64)
        flow[FLOW_LAST] = flow[FLOW_ENOUGH] = len(order)
        asked = Asked(
            queries, excluded, answers.rows, answers.distances, answers.slots, answers.counts,
            answers.counters, order, np.empty_like(order), flow, stop,
        )  # fmt: skip
        return cls(options, asked, answers)

    @property
    def all_ended(self) -> bool:
        """Whether all queries of a part that stays as it is have ended."""
        flow = self.asked.flow
        return bool(flow[FLOW_ENDED] == flow[FLOW_LAST])
