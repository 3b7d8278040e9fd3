"""Whether curves that are measured on rows of an index hold for queries that come from elsewhere.

    python -m tests.reference.strange_queries FOLDER [--sets clustered,spread,source,patches]
        [--memory 30%,10%]

Sets that no promise is quoted from: two generated; windows of the source text of installed packages (words
and pairs of them, 128 leading dimensions), asked for with windows of other packages; patches of a photograph
that scikit-learn brings, asked for with patches of another (this one needs Pillow). Of each an index is built
for each budget, and asked by recall as `recall_asked` does: whether what was asked for came, and at how many
times the units of the least effort that suffices; `reached` is the highest recall of the curve. Prints a line
of JSON for each.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.types import Metric
from tests.reference.recall_asked import Asked, asked_for

_K = 10
_QUERIES = 2000
_RECALLS = [0.9, 0.95, 0.99]
_STRANGE_PACKAGES = ("numba", "rich", "grpc", "google", "pip")
_WINDOW = 6
"""Lines of source."""
_MOST_WINDOWS = 150_000
_WORDS = 1 << 18
_SOURCE_DIM = 128
_PATCH = 8
"""Width and height of a patch, in pixels of three bytes."""

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Rows and queries."""


def _clustered() -> Pair:
    return clustered(100_000, 96, clusters=100, intrinsic_dim=16, queries=_QUERIES, seed=3)


def _spread() -> Pair:
    return clustered(100_000, 128, clusters=20, intrinsic_dim=32, queries=_QUERIES, seed=4)


def _source() -> Pair:
    """Windows of source text as vectors; those of some packages are the queries."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    home = Path(np.__file__).parents[1]
    texts: dict[bool, list[str]] = {False: [], True: []}
    for file in sorted(home.rglob("*.py")):
        if "_vendor" in file.parts:  # copies of packages that may be among the rows
            continue
        lines = file.read_text("utf-8", errors="replace").splitlines()
        windows = ("\n".join(lines[at : at + _WINDOW]) for at in range(0, len(lines), _WINDOW))
        is_strange = file.relative_to(home).parts[0] in _STRANGE_PACKAGES
        texts[is_strange].extend(text for text in windows if len(text.split()) > _WINDOW)
    rows = _evenly(texts[False], _MOST_WINDOWS)
    questions = _evenly(texts[True], _QUERIES)
    counts = HashingVectorizer(n_features=_WORDS, ngram_range=(1, 2), norm=None, alternate_sign=False)
    weights = TfidfTransformer(sublinear_tf=True)
    reduction = TruncatedSVD(_SOURCE_DIM, random_state=0)
    base = reduction.fit_transform(weights.fit_transform(counts.transform(rows)))
    queries = reduction.transform(weights.transform(counts.transform(questions)))
    # A window of words that no row has comes out as zeros, which have no direction.
    base, queries = (each[np.linalg.norm(each, axis=1) > 1e-3] for each in (base, queries))
    return base.astype(np.float32), queries.astype(np.float32)


def _evenly(items: list[str], most: int) -> list[str]:
    return [items[place] for place in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)]


def _patches() -> Pair:
    from sklearn.datasets import load_sample_images

    rows, questions = (_patches_of(image) for image in load_sample_images().images)
    random = np.random.default_rng(5)
    return rows[::2], questions[random.choice(len(questions), _QUERIES, replace=False)]


def _patches_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    windows = np.lib.stride_tricks.sliding_window_view(image, (_PATCH, _PATCH), axis=(0, 1))
    return np.ascontiguousarray(windows).reshape(-1, 3 * _PATCH * _PATCH)


SETS: dict[str, tuple[Callable[[], Pair], Metric]] = {
    "clustered": (_clustered, Metric.L2),
    "spread": (_spread, Metric.L2),
    "source": (_source, Metric.COSINE),
    "patches": (_patches, Metric.L2),
}


def _reached(index: pageann.Index) -> float:
    """The highest recall of the build's rows at any effort, with the codes in memory."""
    code_bytes = index.describe()["resident"]["code_bytes"]
    curves = index.describe()["calibration"]["curves"]
    points = next(c["points"] for c in curves if c["k"] == _K and c["code_bytes"] == code_bytes)
    return max(point["recall"] for point in points)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--memory", default="30%,10%")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets.split(","):
        make, metric = SETS[name]
        base, queries = make()
        distances = exact_neighbours(base, queries, _K, metric)[1]
        for memory in arguments.memory.split(","):
            path = arguments.folder / f"{name}-{memory.rstrip('%')}"
            shutil.rmtree(path, ignore_errors=True)
            pageann.build(base, path, metric=metric, memory=memory)
            with pageann.open(path) as index:
                known = {"set": name, "rows": len(base), "memory": memory, "reached": _reached(index)}
                for line in asked_for(Asked(index, queries, distances), _RECALLS, "as built"):
                    print(json.dumps({**known, **line}), flush=True)


if __name__ == "__main__":
    main()
