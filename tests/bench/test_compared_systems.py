"""Every adapter builds and answers what it is asked; one that cannot is reported with its reason.

Guarded: an adapter that maps ids or metrics wrongly and makes a peer look bad; a system that fails and
vanishes from the table; a build that is used for other vectors.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.bench import compare as compare_module
from pageann.bench.compare import CompareOptions, compare
from pageann.bench.options import BenchOptions
from pageann.bench.peers.contract import Case, Peer, Setting
from pageann.bench.peers.registry import PEERS, kind_of
from pageann.cli.main import main
from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.errors import InvalidArgument
from pageann.types import Metric

ROWS, DIM, K = 3000, 16, 5
MODULES = {"faiss-hnsw": "faiss", "faiss-ivf": "faiss"}


def require_package(name: str) -> None:
    module = MODULES.get(name, name)
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def data(dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
    return clustered(ROWS, DIM, dtype=dtype, clusters=20, queries=30, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", PEERS)
def test_the_most_thorough_setting_finds_nearly_everything(
    tmp_path: Path, name: str, dtype: str, metric: str
) -> None:
    require_package(name)
    kind = kind_of(name)
    if metric in kind.refusals:
        pytest.skip(kind.refusals[metric])
    base, queries = data(dtype)
    peer = kind(Case(ROWS, DIM, dtype, metric, 2, {}))
    peer.load()
    peer.build(base, tmp_path)
    searcher = kind(peer.case)
    searcher.load()
    searcher.open(tmp_path)
    truth, _ = exact_neighbours(base, queries, K, Metric.parse(metric))
    setting = searcher.settings()[-1]
    found = [set(searcher.search(query, K, setting).tolist()) for query in queries]
    hits = sum(len(ids & set(row.tolist())) for ids, row in zip(found, truth, strict=True))
    # lists by distance serve inner products of vectors of different lengths badly
    assert hits / truth.size > (0.5 if (name, metric) == ("faiss-ivf", "ip") else 0.9)
    assert peer.version()[0].isdigit()
    assert json.loads(json.dumps(peer.parameters())) == peer.parameters()


@pytest.mark.parametrize("name", PEERS)
def test_an_adapter_is_described_without_its_package(name: str) -> None:
    peer = kind_of(name)(Case(ROWS, DIM, "float32", "l2", 2, {}))
    assert peer.description
    settings = peer.settings()
    assert len(settings) >= 4
    keys = {tuple(setting) for setting in settings}
    assert len(keys) == 1
    values = [next(iter(setting.values())) for setting in settings]
    assert values == sorted(set(values))


def test_an_unknown_name_is_a_mistake() -> None:
    with pytest.raises(InvalidArgument, match="hnswlib"):
        kind_of("hnsw")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--compare", "hnsw"], "'hnsw' is unknown"),
        (["--compare", "hnswlib", "--compare-cap", "much"], "compare-cap='much' is not a size"),
        (["--json", "no-such-folder/out.json"], "--json no-such-folder/out.json: there is no folder"),
        (["--html", "no-such-folder/out.html"], "--html no-such-folder/out.html: there is no folder"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], extra: list[str], words: str
) -> None:
    def never(*given: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("pageann.bench.run.measure", never)
    assert main(["bench", "some.pageann", "--queries", "q.npy", "--truth", "t.npy", *extra]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> BenchOptions:
    """An index, queries and their truth on disk."""
    folder = tmp_path_factory.mktemp("compared")
    base, queries = data("float32")
    pageann.build(base, folder / "some.pageann", memory="1MiB")
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", exact_neighbours(base, queries, K, Metric.L2)[0])
    paths = [str(folder / name) for name in ("some.pageann", "queries.npy", "truth.npy")]
    return BenchOptions(*paths, k=K, repeats=2)


class Brute(Peer):
    """Exact, in this process; what the tests of the bookkeeping compare with."""

    package = "numpy"
    description = "brute force"

    def load(self) -> None:
        pass

    def parameters(self) -> dict[str, Any]:
        return {}

    def build(self, base: NDArray[Any], folder: Path) -> None:
        np.save(folder / "base.npy", base)

    def open(self, folder: Path) -> None:
        self.base = np.load(folder / "base.npy")

    def settings(self) -> list[Setting]:
        return [{"misses": 2}, {"misses": 0}]

    def search(self, query: NDArray[Any], k: int, setting: Setting) -> NDArray[np.int64]:
        order = np.argsort(((self.base - query) ** 2).sum(axis=1))
        return order[: k - setting["misses"]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Workers run in this process, with the brute-force adapter behind every name; returns their tasks."""
    from pageann.bench.peers import launch, store, worker

    tasks: list[dict[str, Any]] = []

    def run_here(task: dict[str, Any], seconds: float, *, when_ready: Any = None) -> dict[str, Any]:
        tasks.append(task)
        if task["peer"] == "zvec":
            raise launch.PeerFailure("no such package")
        if task["peer"] == "usearch" and task["action"] == "search":
            raise launch.PeerFailure("killed by the system")
        if task["action"] == "search":
            peer = Brute(Case(**task["case"]))
            peer.open(Path(task["folder"]) / worker.INDEX)
            timed = worker._timed(peer, np.load(task["queries"]), task)
            growth = {"rss_growth_bytes": 4096, "private_growth_bytes": -1, "peak_rss_bytes": 1}
            return {**timed, **growth, "open_seconds": 0.1, "start_read_bytes": 0}
        return {"describe": worker._describe, "build": worker._build}[task["action"]](task)

    monkeypatch.setattr(worker, "kind_of", lambda name: Brute)
    monkeypatch.setattr(store, "run_worker", run_here)
    monkeypatch.setattr(compare_module, "run_worker", run_here)
    return tasks


def test_figures_of_a_comparison(here: list[dict[str, Any]], asked: BenchOptions, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = CompareOptions(("hnswlib", "zvec", "usearch"), str(tmp_path))
    found = compare(asked, wanted, said.append)
    ours, good, missing, killed = found["peers"]
    assert [peer["name"] for peer in found["peers"]] == ["pageann", "hnswlib", "zvec", "usearch"]
    assert [run["recall"] for run in good["runs"]] == [pytest.approx(0.6), 1.0]
    assert good["runs"][0]["spread"]["recall"] == [pytest.approx(0.6)] * 2
    assert (good["runs"][0]["rss_growth_bytes"], good["runs"][0]["private_growth_bytes"]) == (4096, 0)
    assert (ours["build"]["cached"], good["build"]["cached"]) == (False, False)
    assert (missing["reason"], missing["runs"]) == ("no such package", [])
    assert [each["reason"] for each in killed["failures"]] == ["killed by the system"] * 2
    assert found["conditions"]["cap"] == "none asked for"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_runs_of_all_systems_take_turns(
    here: list[dict[str, Any]], asked: BenchOptions, tmp_path: Path
) -> None:
    compare(asked, CompareOptions(("hnswlib",), str(tmp_path)), lambda text: None)
    turns = [(task["peer"], task["setting"]["misses"]) for task in here if task["action"] == "search"]
    assert turns == [(peer, misses) for _ in range(2) for misses in (2, 0) for peer in ("pageann", "hnswlib")]


def test_builds_are_kept_for_the_same_vectors_only(
    here: list[dict[str, Any]], asked: BenchOptions, tmp_path: Path
) -> None:
    wanted = CompareOptions(("hnswlib",), str(tmp_path))
    compare(asked, wanted, lambda text: None)
    again = compare(asked, wanted, lambda text: None)
    assert [peer["build"]["cached"] for peer in again["peers"]] == [True, True]
    pageann.build(data("float32")[0][::-1].copy(), asked.index, memory="1MiB")
    built = len([task for task in here if task["action"] == "build"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_module, "true_distances", lambda *given: np.zeros((30, K)))
        compare(asked, wanted, lambda text: None)
    assert len([task for task in here if task["action"] == "build"]) == built + 2
    pageann.build(data("float32")[0], asked.index, memory="1MiB")


def test_each_budget_is_an_entrant(here: list[dict[str, Any]], asked: BenchOptions, tmp_path: Path) -> None:
    from dataclasses import replace

    options = replace(asked, memories=("2MiB", "3MiB"), repeats=1)
    found = compare(options, CompareOptions((), str(tmp_path)), lambda text: None)
    assert [peer["name"] for peer in found["peers"]] == ["pageann 2MiB", "pageann 3MiB"]


@pytest.mark.slow
def test_real_workers(asked: BenchOptions, tmp_path: Path) -> None:
    found = compare(asked, CompareOptions(("faiss-hnsw",), str(tmp_path)), lambda text: None)
    for peer in found["peers"]:
        assert peer["reason"] is None
        assert peer["failures"] == []
        assert max(run["recall"] for run in peer["runs"]) > 0.99
        assert peer["build"]["peak_rss_bytes"] > 1 << 24
        assert all(run["cpu_us"] > 0 and run["qps"] > 0 for run in peer["runs"])
        assert all(run["open_seconds"] > 0 for run in peer["runs"])
