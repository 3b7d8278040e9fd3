"""The pages from which the page graph is taken to be entered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pageann.index.kernels.scan import LANES
from pageann.index.search.planner import router_units
from pageann.index.segment_files import Shape

__all__ = ["entry_pages"]


def entry_pages(shape: Shape, rows: int) -> npt.NDArray[np.int64]:
    """The first page below each unit of the router's top level: at most 32 pages, ascending.

    A search is given any page by the router; every page is reachable from these few all the same.
    """
    units = router_units(shape.group_count(rows))
    below = LANES ** (len(units) - 1)
    return np.asarray(np.arange(units[-1], dtype=np.int64) * (below * shape.group_pages))
