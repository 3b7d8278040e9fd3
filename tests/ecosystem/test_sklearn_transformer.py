"""The transformer is an estimator like scikit-learn's own, and gives the graph that theirs gives.

Guarded: an estimator that breaks in a pipeline, a grid search or a pickle; a graph whose distances are
squared where scikit-learn expects them not to be.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.manifold import Isomap
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import pageann
from pageann.datasets.synthetic import clustered
from pageann.sklearn import PageANNTransformer


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """1,500 vectors in 6 clusters."""
    centres = np.random.default_rng(0).standard_normal((6, 8)) * 8
    noise = np.random.default_rng(1).standard_normal((1500, 8))
    return (centres[np.arange(1500) % 6] + noise).astype(np.float32)


@pytest.mark.slow
def test_estimator_checks_of_scikit_learn() -> None:
    check_estimator(PageANNTransformer())


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_graph_is_that_of_scikit_learn(vectors: NDArray[np.float32], metric: str, mode: str) -> None:
    options: dict[str, Any] = {"n_neighbors": 7, "metric": metric, "mode": mode}
    ours = PageANNTransformer(**options, recall=1.0).fit(vectors)
    theirs = KNeighborsTransformer(**options, algorithm="brute").fit(vectors)
    queries = vectors[:50] + np.float32(0.01)
    found, expected = ours.transform(queries), theirs.transform(queries)
    assert found.shape == expected.shape
    assert np.array_equal(found.indptr, expected.indptr)
    np.testing.assert_allclose(
        np.sort(found.data.reshape(50, -1)), np.sort(expected.data.reshape(50, -1)), rtol=1e-4, atol=1e-5
    )
    same = (found.astype(bool).toarray() & expected.astype(bool).toarray()).sum()
    assert same >= found.nnz - 2  # rows at nearly the same distance may change places


def test_names_of_features(vectors: NDArray[np.float32]) -> None:
    names = PageANNTransformer().fit(vectors).get_feature_names_out()
    assert (len(names), names[0]) == (1500, "pageanntransformer0")


def test_a_pipeline_that_clusters(vectors: NDArray[np.float32]) -> None:
    labels = make_pipeline(
        PageANNTransformer(n_neighbors=30), DBSCAN(eps=3.0, metric="precomputed")
    ).fit_predict(vectors)
    assert adjusted_rand_score(np.arange(1500) % 6, labels) > 0.9
    assert adjusted_rand_score(DBSCAN(eps=3.0).fit_predict(vectors), labels) > 0.9


def test_a_pipeline_that_classifies_rows_it_has_not_seen(vectors: NDArray[np.float32]) -> None:
    truth = np.arange(1500) % 6
    model = make_pipeline(
        PageANNTransformer(n_neighbors=10), KNeighborsClassifier(n_neighbors=5, metric="precomputed")
    )
    assert model.fit(vectors[:1200], truth[:1200]).score(vectors[1200:], truth[1200:]) > 0.99


def test_a_pipeline_that_embeds(vectors: NDArray[np.float32]) -> None:
    few = vectors[::6][:200]  # one cluster, so that its graph is connected
    flat = make_pipeline(
        PageANNTransformer(n_neighbors=20), Isomap(n_neighbors=15, metric="precomputed")
    ).fit_transform(few)
    assert flat.shape == (200, 2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_carry_their_index(vectors: NDArray[np.float32], copied: Any) -> None:
    first = PageANNTransformer().fit(vectors)
    expected = first.transform(vectors[:20])
    second = copied(first)
    first.fit(vectors[:100])  # the index of the first is another one now
    assert (second.transform(vectors[:20]) != expected).nnz == 0


def test_an_estimator_that_is_not_fitted_can_be_copied() -> None:
    assert pickle.loads(pickle.dumps(PageANNTransformer(n_neighbors=3))).n_neighbors == 3
    assert clone(PageANNTransformer(memory="8MiB")).memory == "8MiB"


def test_the_folder_is_removed_with_the_estimator(vectors: NDArray[np.float32], tmp_path: Path) -> None:
    estimator = PageANNTransformer(folder=str(tmp_path)).fit(vectors)
    assert len(list(tmp_path.iterdir())) == 1
    estimator.fit(vectors[:200])
    assert len(list(tmp_path.iterdir())) == 1
    del estimator
    assert list(tmp_path.iterdir()) == []


def test_memory_is_a_hard_budget(vectors: NDArray[np.float32]) -> None:
    with pytest.raises(pageann.BudgetTooSmall):
        PageANNTransformer(memory=10).fit(vectors)


def test_recall_is_passed_on() -> None:
    base, queries = clustered(20_000, 32, queries=100, seed=3)
    rough = PageANNTransformer(recall=0.3, mode="connectivity", n_neighbors=10).fit(base)
    exact = clone(rough).set_params(recall=1.0)
    exact.fit(base)
    shared = rough.transform(queries).multiply(exact.transform(queries)).sum() / 1000
    assert 0.2 < shared < 0.999


def test_options_mean_what_they_mean_in_scikit_learn(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int | None] = []
    seeds: list[int] = []
    build = pageann.build

    def watched(*given: Any, **options: Any) -> Any:
        threads.append(options["threads"])
        seeds.append(options["seed"])
        return build(*given, **options)

    monkeypatch.setattr(pageann, "build", watched)
    for jobs in (None, 1, -1):
        PageANNTransformer(n_jobs=jobs).fit(vectors[:100])
    assert threads == [None, 1, effective_n_jobs(-1)]
    for state in (np.random.RandomState(3), np.random.RandomState(3), np.random.RandomState(4), 7):
        PageANNTransformer(random_state=state).fit(vectors[:100])
    assert seeds[3] == seeds[4] != seeds[5]
    assert seeds[6] == 7
    PageANNTransformer(random_state=None).fit(vectors[:100])


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "manhattan"},
        {"mode": "both"},
        {"n_neighbors": 0},
        {"n_neighbors": 2.5},
        {"recall": 2},
        {"n_jobs": 0},
    ],
)
def test_mistakes(vectors: NDArray[np.float32], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PageANNTransformer(**options).fit(vectors[:50]).transform(vectors[:5])
