"""A share of the queries of a call, or the queries of several small calls: what one worker runs at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.index.search.answers import Answers
from pageann.index.search.engine_options import CallOptions

__all__ = ["Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """Queries ``first .. last - 1`` of ``queries``, and where their answers go."""

    queries: npt.NDArray[np.float32]
    """(q, dim)."""
    options: CallOptions
    excluded: npt.NDArray[np.int64]
    """(q,): a row to leave out of each answer, or -1."""
    answers: Answers
    """Of all q queries."""
    first: int
    last: int
    stop: npt.NDArray[np.int64]
    """(1,): set to 1 to end early."""
