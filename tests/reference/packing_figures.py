"""How compact the pages of an index are, in the three figures by which packings are judged.

    python -m tests.reference.packing_figures INDEX QUERIES TRUTH

Residual energy (mean squared distance of vectors to their page's centroid), distinct pages of the true 10,
and the share of the true 10 on the pages whose exact centroids are nearest to the query. l2 only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pageann.datasets.source import open_vectors
from pageann.index.segment_files import PAGES_FILE
from pageann.storage.directory import IndexDirectory
from pageann.storage.format import PAGE_HEADER_BYTES
from pageann.storage.pagefile import read_page_file_header

_QUERIES = 1000
_NEAREST = (100, 200, 400, 800)
_K = 10


def main(path: str, queries_path: str, truth_path: str) -> None:
    """Print the figures, for the first 1,000 queries."""
    directory = IndexDirectory(path)
    entry = directory.current().segments[0]
    file = directory.file_path(entry, PAGES_FILE)
    layout, page_count = read_page_file_header(Path(file))
    pages = np.memmap(file, np.uint8, "r").reshape(-1, layout.page_bytes)[1:]
    last = entry.rows - (page_count - 1) * layout.capacity
    page_of_row = np.empty(entry.rows, np.int64)
    centroids = np.empty((page_count, entry.dim), np.float32)
    energy = 0.0
    for page in range(page_count):
        held = layout.capacity if page < page_count - 1 else last
        body = pages[page, PAGE_HEADER_BYTES : PAGE_HEADER_BYTES + held * layout.vector_bytes]
        vectors = body.view(layout.dtype).reshape(held, entry.dim).astype(np.float32)
        rows_at = layout.rows_offset
        rows = pages[page, rows_at : rows_at + held * layout.row_bytes].view(f"<u{layout.row_bytes}")
        page_of_row[rows] = page
        centroids[page] = vectors.mean(axis=0)
        energy += float(((vectors - centroids[page]) ** 2).sum())
    queries = np.asarray(open_vectors(queries_path).mapped(None)[:_QUERIES], dtype=np.float32)
    truth = np.load(truth_path)[: len(queries), :_K]
    homes = np.sort(page_of_row[truth], axis=1)
    distinct = (1 + (np.diff(homes, axis=1) != 0).sum(axis=1)).mean()
    lengths = (centroids**2).sum(axis=1)
    ranks = np.empty(truth.shape, np.int64)
    for number, query in enumerate(queries):
        scores = lengths - 2 * centroids @ query
        ranks[number] = (scores[None, :] < scores[page_of_row[truth[number]]][:, None]).sum(axis=1)
    coverage = {nearest: round(float((ranks < nearest).mean()), 4) for nearest in _NEAREST}
    print(f"residual energy {energy / entry.rows:.0f}, distinct pages {distinct:.2f}, coverage {coverage}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
