"""Make every page reachable over links from the router's entry pages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pageann.index.builder.pages import PageLinks
from pageann.index.builder.residency import Residency
from pageann.index.kernels.reach import follow_edges, join_page

__all__ = ["join_lost_pages"]

_PAGES_BETWEEN_CHECKS = 1024


def join_lost_pages(
    edges: PageLinks, capacity: int, entries: npt.NDArray[np.int64], residency: Residency | None = None
) -> int:
    """Lay edges to all pages that cannot be reached from ``entries``, in place; returns how many were laid.

    ``edges`` are those of all pages, where each has place for ``capacity`` vectors. A new edge takes a
    free place or that of the least useful edge that no page is reached by, so nothing is cut off. Pages
    without any place for links or representatives are left as they are. Memory: 8 bytes a page.
    """
    pages = len(edges.link_counts)
    if edges.links.shape[1] + edges.reps.shape[1] == 0:
        return 0
    parents = np.full(pages, -1, np.int32)
    queue = np.empty(pages, np.int32)
    arrays = edges.links, edges.link_counts, edges.reps, edges.rep_counts
    parents[entries] = entries
    queue[: len(entries)] = entries
    head, tail, laid, page = 0, len(entries), 0, 0
    while True:
        while head < tail:
            head, tail = follow_edges(*arrays, capacity, parents, queue, head, tail, _PAGES_BETWEEN_CHECKS)
            if residency is not None:
                residency.check()
        while page < pages and parents[page] >= 0:
            page += 1
        if page == pages:
            return laid
        if join_page(*arrays, capacity, parents, page) < 0:
            return laid  # every place of every page leads somewhere already
        queue[tail] = page
        tail += 1
        laid += 1
