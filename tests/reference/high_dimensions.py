"""The made set of high dimension: 200,000 x 768 float32, as hard for a search as sentence embeddings are.

    python -m tests.reference.high_dimensions FOLDER [--hnsw]

Writes base.npy, query.npy and learn.npy (vectors) and truth_ids.npy, learn_truth_ids.npy (the true 10, l2)
into FOLDER. The generator's arguments are the constants below. With --hnsw it says how hard the set is: by
recall@10 of a faiss HNSW graph (M = 32, all else as faiss has it), to be 0.90 to 0.96 at efSearch 32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours, recall_at_k
from pageann.types import Metric

ROWS = 200_000
DIM = 768
CLUSTERS = 128
INTRINSIC_DIM = 24
ZIPF = 0.8
SEED = 1
QUERIES = 2000
"""Those measured with; as many more, drawn after them, are for tuning."""
_K = 10
_EFFORTS = (16, 32, 64, 128)


def make(folder: Path) -> None:
    """Write the set."""
    folder.mkdir(parents=True, exist_ok=True)
    base, queries = clustered(
        ROWS, DIM, clusters=CLUSTERS, intrinsic_dim=INTRINSIC_DIM, zipf=ZIPF, queries=2 * QUERIES, seed=SEED
    )
    ids, _ = exact_neighbours(base, queries, _K, Metric.L2)
    np.save(folder / "base.npy", base)
    for name, part in (("", slice(QUERIES)), ("learn", slice(QUERIES, None))):
        np.save(folder / f"{name or 'query'}.npy", queries[part])
        np.save(folder / f"{name}{'_' * bool(name)}truth_ids.npy", ids[part])


def hnsw_recalls(base: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[int, float]:
    """recall@10 of a faiss HNSW graph by efSearch."""
    import faiss

    exact = exact_neighbours(base, queries, _K, Metric.L2)[1]
    graph = faiss.IndexHNSWFlat(base.shape[1], 32)
    graph.add(base)
    found = {}
    for effort in _EFFORTS:
        graph.hnsw.efSearch = effort
        distances = np.sort(graph.search(queries, _K)[0], axis=1)
        found[effort] = round(float(recall_at_k(distances, exact, _K, relative_slack=1e-5).mean()), 4)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hnsw", action="store_true", help="build the graph and print its recall")
    arguments = parser.parse_args()
    make(arguments.folder)
    if arguments.hnsw:
        base, queries = (np.load(arguments.folder / name) for name in ("base.npy", "query.npy"))
        for effort, recall in hnsw_recalls(base, queries).items():
            print(f"HNSW, M = 32, efSearch {effort}: recall@10 {recall}")


if __name__ == "__main__":
    main()
