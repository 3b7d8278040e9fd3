"""The modules for ann-benchmarks, big-ann-benchmarks and VectorDBBench do what their runners ask of them.

Guarded: a module that was written once and fails on the first run; ids of rows mixed up with positions; a
folder left behind.
"""

from __future__ import annotations

import copy
import pickle
import re
import resource
import signal
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.types import Metric
from tests.harness.hosts import (
    HARNESS,
    DBCaseConfig,
    MetricType,
    PlainBaseANN,
    VectorDB,
    is_installed,
    load_module,
    stand_in,
)

ROWS, DIM, K = 4000, 24, 10


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[Any], NDArray[Any]]:
    return clustered(ROWS, DIM, queries=40, seed=2)


def recall(found: Any, base: NDArray[Any], queries: NDArray[Any], metric: Metric) -> float:
    truth, _ = exact_neighbours(base, queries, K, metric)
    hits = sum(len(set(map(int, ids)) & set(row.tolist())) for ids, row in zip(found, truth, strict=True))
    return hits / truth.size


@pytest.fixture
def ann(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    if not is_installed("ann_benchmarks.algorithms.base.module"):
        stand_in(monkeypatch, ann_benchmarks__algorithms__base__module={"BaseANN": PlainBaseANN})
    return load_module(monkeypatch, "ann_benchmarks", "ann_benchmarks.algorithms.pageann", "module")


@pytest.mark.parametrize(("distance", "metric"), [("euclidean", Metric.L2), ("angular", Metric.COSINE)])
def test_ann_benchmarks(
    ann: types.ModuleType, data: tuple[NDArray[Any], NDArray[Any]], distance: str, metric: Metric
) -> None:
    base, queries = data
    algorithm = ann.PageANN(distance, {"memory": "2MiB"})
    algorithm.fit(base.astype(np.float64))
    folder = Path(algorithm._folder.name)
    algorithm.set_query_arguments(60)
    assert str(algorithm.name) == "PageANN(memory=2MiB, effort=60)"
    one_by_one = [algorithm.query(query, K) for query in queries]
    algorithm.batch_query(queries, K)
    together = algorithm.get_batch_results()
    assert [ids.tolist() for ids in one_by_one] == [ids.tolist() for ids in together]
    assert recall(one_by_one, base, queries, metric) > 0.95
    additional = algorithm.get_additional()
    assert 0 <= additional["mean_page_reads"] < 500
    assert 0 < additional["resident_bytes"] <= 2 << 20
    algorithm.done()
    assert not folder.exists()


def test_ann_benchmarks_other_distances_are_refused(ann: types.ModuleType) -> None:
    with pytest.raises(pageann.InvalidArgument, match="jaccard"):
        ann.PageANN("jaccard", {"memory": "30%"})


def test_ann_benchmarks_configuration_fits_the_module(ann: types.ModuleType) -> None:
    text = (HARNESS / "ann_benchmarks" / "config.yml").read_text(encoding="utf-8")
    (name,) = re.findall(r"constructor: (\w+)", text)
    assert hasattr(ann, name)
    assert re.findall(r"module: (\S+)", text) == ["ann_benchmarks.algorithms.pageann"]
    assert re.findall(r"\{memory: '(\d+%)'\}", text) == ["10%", "30%", "100%"]


@pytest.mark.slow
def test_the_runner_of_ann_benchmarks(
    ann: types.ModuleType,
    data: tuple[NDArray[Any], NDArray[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = pytest.importorskip("ann_benchmarks.runner", exc_type=ImportError)
    h5py = pytest.importorskip("h5py")
    from ann_benchmarks import datasets, definitions, results

    monkeypatch.chdir(tmp_path)
    base, queries = data
    (tmp_path / "data").mkdir()
    ids, squared = exact_neighbours(base, queries, K, Metric.L2)
    with h5py.File(tmp_path / "data" / "tiny.hdf5", "w") as file:
        file.attrs.update({"type": "dense", "distance": "euclidean", "dimension": DIM, "point_type": "float"})
        for name, array in (("train", base), ("test", queries), ("neighbors", ids)):
            file[name] = array
        file["distances"] = np.sqrt(squared)
    monkeypatch.setitem(datasets.DATASETS, "tiny", lambda path: None)
    definition = definitions.Definition(
        "pageann", "PageANN", "ann_benchmarks.algorithms.pageann", "tag",
        ["euclidean", {"memory": "2MiB"}], [[20], [60]], False,
    )  # fmt: skip
    for batch in (False, True):
        runner.run(definition, "tiny", K, 1, batch)
        stored = 0
        for attributes, file in results.load_all_results("tiny", K, batch):  # closes each file in turn
            assert attributes["mean_page_reads"] >= 0
            assert np.array(file["neighbors"]).shape == (40, K)
            stored += 1
        assert stored == 2


@pytest.fixture
def big_ann(
    monkeypatch: pytest.MonkeyPatch, data: tuple[NDArray[Any], NDArray[Any]], tmp_path: Path
) -> types.ModuleType:
    base, _ = data

    class Tiny:
        nb, d, dtype = ROWS, DIM, "float32"

        def short_name(self) -> str:
            return f"Tiny-{ROWS}"

        def get_dataset_iterator(self, bs: int = 512, split: tuple[int, int] = (1, 0)) -> Iterator[Any]:
            for first in range(0, ROWS, min(bs, 1500)):
                yield base[first : first + min(bs, 1500)]

    monkeypatch.chdir(tmp_path)
    stand_in(
        monkeypatch,
        benchmark__algorithms__base={"BaseANN": PlainBaseANN},
        benchmark__datasets={"DATASETS": {"tiny": Tiny}},
    )
    return load_module(monkeypatch, "big_ann_benchmarks", "benchmark.algorithms.ours", "pageann")


def test_big_ann_benchmarks(big_ann: types.ModuleType, data: tuple[NDArray[Any], NDArray[Any]]) -> None:
    base, queries = data
    algorithm = big_ann.PageANN("euclidean", {"memory": "2MiB"})
    assert (algorithm.track(), str(algorithm)) == ("T2", "pageann")
    assert algorithm.get_additional() == {}
    assert algorithm.load_index("tiny") is False
    algorithm.fit("tiny")
    algorithm.done()
    assert algorithm.load_index("tiny") is True
    algorithm.set_query_arguments({"effort": 60})
    algorithm.query(queries, K)
    assert algorithm.get_results().shape == (40, K)
    assert recall(algorithm.get_results(), base, queries, Metric.L2) > 0.95
    figures = algorithm.get_additional()
    assert set(figures) == {"mean_ssd_ios", "dist_comps", "mean_latency", "latency_999"}
    assert 0 < figures["mean_latency"] <= figures["latency_999"]
    folder, prefix, files = algorithm.index_files_to_store("tiny")
    assert all(Path(folder, prefix + file).is_file() for file in files)
    assert "index.pageann/CURRENT" in files
    algorithm.done()


def test_big_ann_benchmarks_within_a_radius(
    big_ann: types.ModuleType, data: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    base, queries = data
    algorithm = big_ann.PageANN("euclidean", {"memory": "2MiB"})
    algorithm.fit("tiny")
    algorithm.set_query_arguments({"effort": 200})
    squared = exact_neighbours(base, queries, K, Metric.L2)[1]
    radius = float(np.median(squared[:, 4]))
    algorithm.range_query(queries, radius)
    lims, distances, ids = algorithm.get_range_results()
    assert lims.shape == (41,)
    assert lims[-1] == len(distances) == len(ids)
    assert (distances < radius).all()
    expected = (squared < radius).sum(axis=1)
    assert np.minimum(np.diff(lims), K).sum() > 0.9 * expected.sum()
    algorithm.done()


def test_big_ann_benchmarks_other_distances_are_refused(big_ann: types.ModuleType) -> None:
    with pytest.raises(pageann.InvalidArgument, match="jaccard"):
        big_ann.PageANN("jaccard", {"memory": "30%"})


def test_big_ann_benchmarks_configuration(big_ann: types.ModuleType) -> None:
    text = (HARNESS / "big_ann_benchmarks" / "algos.yaml").read_text(encoding="utf-8")
    assert re.findall(r"constructor: (\w+)", text) == ["PageANN"]
    assert "module: benchmark.algorithms.pageann" in text
    assert (HARNESS / "big_ann_benchmarks" / "pageann.py").exists()


@pytest.fixture
def vectordb(monkeypatch: pytest.MonkeyPatch) -> tuple[types.ModuleType, types.ModuleType]:
    """(client, configuration)"""
    api = "vectordb_bench.backend.clients.api"
    pydantic = pytest.importorskip("pydantic")
    if not is_installed(api):
        kinds = {"VectorDB": VectorDB, "MetricType": MetricType, "DBCaseConfig": DBCaseConfig}
        config = type(
            "DBConfig", (pydantic.BaseModel,), {"__annotations__": {"db_label": str}, "db_label": ""}
        )
        stand_in(monkeypatch, vectordb_bench__backend__clients__api={**kinds, "DBConfig": config})
    package = "vectordb_bench.backend.clients.ours"
    client = load_module(monkeypatch, "vectordb_bench", package, "pageann")
    import importlib

    return client, importlib.import_module(f"{package}.config")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_vectordb_bench(
    vectordb: tuple[types.ModuleType, types.ModuleType],
    data: tuple[NDArray[Any], NDArray[Any]],
    tmp_path: Path,
    copied: Any,
) -> None:
    base, queries = data
    module, config = vectordb
    metric = config.MetricType.COSINE
    options = config.PageANNIndexConfig(metric_type=metric, memory="2MiB", effort=60)
    where = config.PageANNConfig(db_label="here", path=str(tmp_path)).to_dict()
    client = module.PageANN(DIM, where, options, drop_old=True)
    names = np.arange(ROWS)[::-1] + 100  # ids are no positions
    with client.init():
        for first in range(0, ROWS, 1500):
            block = slice(first, first + 1500)
            assert client.insert_embeddings(base[block].tolist(), names[block].tolist()) == (
                len(base[block]),
                None,
            )
        client.optimize(data_size=ROWS)
        assert len(client.search_embedding(queries[0].tolist(), k=3)) == 3
    other = copied(client)
    with other.init():
        found = [other.search_embedding(query.tolist(), k=K) for query in queries]
    rows = [[ROWS - 1 - (name - 100) for name in ids] for ids in found]
    assert recall(rows, base, queries, Metric.COSINE) > 0.95
    module.PageANN(DIM, where, options, drop_old=True)
    assert not list((tmp_path / "vectors").iterdir())


def test_vectordb_bench_clients_that_insert_at_once_keep_ids_and_vectors_together(
    vectordb: tuple[types.ModuleType, types.ModuleType], tmp_path: Path
) -> None:
    module, config = vectordb
    # All rows are looked at: what is asked here is whose vector an id stands for, not recall.
    options = config.PageANNIndexConfig(metric_type=config.MetricType.L2, memory="2MiB", effort=4000)
    clients = [module.PageANN(4, {"path": str(tmp_path)}, options) for _ in range(4)]

    def insert(number: int) -> None:
        for first in range(number * 1000, number * 1000 + 1000, 50):
            names = list(range(first, first + 50))
            clients[number].insert_embeddings([[float(name)] * 4 for name in names], names)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(4)))
    with clients[0].init():
        clients[0].optimize()
        for name in (0, 999, 1000, 2345, 3999):
            assert clients[0].search_embedding([float(name)] * 4, k=1) == [name]


def test_vectordb_bench_a_failed_insert_leaves_nothing(
    vectordb: tuple[types.ModuleType, types.ModuleType], tmp_path: Path
) -> None:
    module, config = vectordb
    client = module.PageANN(4, {"path": str(tmp_path)}, config.PageANNIndexConfig())
    assert client.insert_embeddings([[1.0] * 4], [7]) == (1, None)
    staged = tmp_path / "vectors" / "staged.records"
    before = staged.read_bytes()
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    quiet = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, kept[1]))
    try:
        count, error = client.insert_embeddings([[2.0] * 4], [8])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, quiet)
    assert count == 0
    assert isinstance(error, OSError)
    assert staged.read_bytes() == before


def test_vectordb_bench_other_metrics_are_refused(
    vectordb: tuple[types.ModuleType, types.ModuleType],
) -> None:
    _, config = vectordb
    with pytest.raises(pageann.InvalidArgument, match="HAMMING"):
        config.PageANNIndexConfig(metric_type=config.MetricType.HAMMING).index_param()


@pytest.mark.parametrize("folder", ["ann_benchmarks", "big_ann_benchmarks", "vectordb_bench"])
def test_the_page_tells_where_each_folder_goes(folder: str) -> None:
    page = (HARNESS / "README.md").read_text(encoding="utf-8")
    assert f"`{folder}/`" in page
    for name in re.findall(rf"harness/{folder}/([\w.]+)", page):
        assert (HARNESS / folder / name).exists()
