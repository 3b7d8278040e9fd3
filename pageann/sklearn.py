"""PageANN inside scikit-learn: a drop-in for ``KNeighborsTransformer`` whose neighbours are found on disk.

```python
from sklearn.cluster import DBSCAN
from sklearn.pipeline import make_pipeline
from pageann.sklearn import PageANNTransformer

labels = make_pipeline(
    PageANNTransformer(n_neighbors=20, memory="30%"), DBSCAN(eps=0.5, metric="precomputed")
).fit_predict(vectors)
```
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

import pageann

__all__ = ["PageANNTransformer"]

_METRICS = {"euclidean": "l2", "sqeuclidean": "l2", "cosine": "cosine"}
_INDEX_NAME = "neighbours.pageann"


class PageANNTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform X into a sparse graph of the (approximately) k nearest neighbours among the fitted rows.

    Parameters are those of ``sklearn.neighbors.KNeighborsTransformer`` where the names are the same:

    - ``n_neighbors``: neighbours of each row. In mode ``distance`` one more is returned, since a fitted row
      is its own nearest neighbour;
    - ``mode``: ``distance`` for distances, ``connectivity`` for ones;
    - ``metric``: ``euclidean``, ``sqeuclidean`` or ``cosine``;
    - ``n_jobs``: threads; None is every core allowed, -1 every core, -2 all but one;
    - ``recall``: mean recall to aim for, or 1.0 for an exact search of everything;
    - ``memory``: what the index may hold in RAM, such as ``"64MiB"`` or ``"30%"`` of the vectors;
    - ``folder``: where the index is put; None is the system's temporary folder. It is removed with the
      estimator;
    - ``random_state``: seed of the build, a RandomState to draw it from, or None for any.

    Distances are exact, whatever the recall; vectors are compared as float32. A pickled estimator
    carries its index.
    """

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        mode: str = "distance",
        metric: str = "euclidean",
        n_jobs: int | None = None,
        recall: float = 0.95,
        memory: str | int | None = None,
        folder: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.n_jobs = n_jobs
        self.recall = recall
        self.memory = memory
        self.folder = folder
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Build an index of the rows of ``X`` (n, features); ``y`` is ignored."""
        self._require_parameters()
        vectors = validate_data(self, X, dtype=[np.float32, np.float64], order="C")
        self.n_samples_fit_ = len(vectors)
        if self._wanted() > self.n_samples_fit_:
            raise ValueError(
                f"n_neighbors={self.n_neighbors} needs {self._wanted()} rows, X has n_samples={len(vectors)}"
            )
        self._close()
        self._place = tempfile.TemporaryDirectory(prefix="pageann-", dir=self.folder)
        pageann.build(
            vectors.astype(np.float32, copy=False),
            self._path(),
            metric=_METRICS[self.metric],
            memory=self.memory,
            seed=self._seed(),
            threads=self._threads(),
        )
        self._index = self._opened()
        return self

    def transform(self, X: Any) -> scipy.sparse.csr_matrix:
        """The graph (len(X), fitted rows) in CSR form; entries of a row ascend by distance."""
        check_is_fitted(self)
        vectors = validate_data(self, X, dtype=[np.float32, np.float64], reset=False, order="C")
        exact = self.recall == 1.0
        quality: dict[str, Any] = {"exact": True} if exact else {"recall": self.recall}
        found = self._index.search(vectors.astype(np.float32, copy=False), self._wanted(), **quality)
        real = np.arange(found.ids.shape[1]) < found.counts[:, None]
        starts = np.concatenate([[0], np.cumsum(found.counts, dtype=np.int64)])
        values = self._values(found.distances[real]).astype(vectors.dtype, copy=False)
        shape = (len(vectors), self.n_samples_fit_)
        return scipy.sparse.csr_matrix((values, found.ids[real], starts), shape=shape)

    def _require_parameters(self) -> None:
        if self.metric not in _METRICS:
            raise ValueError(f"metric={self.metric!r} is not one of {', '.join(_METRICS)}")
        if self.mode not in ("distance", "connectivity"):
            raise ValueError(f"mode={self.mode!r} is neither distance nor connectivity")
        if isinstance(self.n_neighbors, bool) or not isinstance(self.n_neighbors, (int, np.integer)):
            raise ValueError(f"n_neighbors={self.n_neighbors!r} is not a whole number")
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors={self.n_neighbors}: at least 1 is needed")

    def _wanted(self) -> int:
        return int(self.n_neighbors) + (self.mode == "distance")

    def _threads(self) -> int | None:
        return None if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _values(self, distances: NDArray[np.float32]) -> NDArray[Any]:
        """What the graph holds for squared Euclidean or cosine distances."""
        if self.mode == "connectivity":
            return np.ones(len(distances), np.float32)
        positive = np.maximum(distances, 0)
        return np.sqrt(positive) if self.metric == "euclidean" else positive

    def _path(self) -> Path:
        return Path(self._place.name) / _INDEX_NAME

    def _opened(self) -> pageann.Index:
        return pageann.open(self._path(), memory=self.memory, threads=self._threads())

    def _close(self) -> None:
        index = self.__dict__.pop("_index", None)
        if index is not None:
            index.close()
        place = self.__dict__.pop("_place", None)
        if place is not None:
            place.cleanup()

    @property
    def _n_features_out(self) -> int:
        return self.n_samples_fit_

    def __sklearn_is_fitted__(self) -> bool:
        """Whether :meth:`fit` made an index."""
        return "_index" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may assume of this estimator."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Everything, with the files of the index in place of the open index."""
        state = dict(super().__getstate__())
        if state.pop("_index", None) is not None:
            state["_archive"] = _packed(self._path())
            del state["_place"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpack the index into a folder of its own, and open it."""
        archive = state.pop("_archive", None)
        super().__setstate__(state)
        if archive is not None:
            folder = self.folder if self.folder and Path(self.folder).is_dir() else None
            self._place = tempfile.TemporaryDirectory(prefix="pageann-", dir=folder)
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                files.extractall(self._place.name, filter="data")
            self._index = self._opened()


def _packed(path: Path) -> bytes:
    """The files below ``path`` as one tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as files:
        files.add(path, arcname=path.name)
    return buffer.getvalue()
