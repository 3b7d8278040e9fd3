"""What the doctor says must be true, and every page must be reachable over links.

Counted here a second time, with sets, from what the reader of the format document finds on the pages.
Guarded: equal vectors by the thousand, whose neighbour lists all name the same few rows, so that nothing
has an edge to most pages; and figures that come out differently where memory is short.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.datasets.synthetic import clustered
from pageann.index.builder import segment as builder_segment
from pageann.index.builder.layout import plan_shape
from pageann.index.search import doctor as examination
from pageann.types import Metric
from tests.library.samples import LAYOUTS, Samples
from tests.reference.format_reader import PageFile, read_page_file
from tests.reference.small_segment import build_small

ROWS, DIM = 3000, 32
LANES = 32


def giant_cluster() -> NDArray[np.float32]:
    """Nearly all in one place, a few far out."""
    random = np.random.default_rng(3)
    vectors = random.standard_normal((ROWS, DIM)).astype(np.float32)
    vectors[::50] = 1000 * random.standard_normal((ROWS // 50, DIM)).astype(np.float32)
    return vectors


def islands() -> NDArray[np.float32]:
    """Clusters much farther apart than wide, none larger than a neighbour list is long."""
    random = np.random.default_rng(4)
    centres = 1e3 * random.standard_normal((ROWS // 15, DIM))
    return (centres[np.arange(ROWS) % len(centres)] + random.standard_normal((ROWS, DIM))).astype(np.float32)


def few_different() -> NDArray[np.float32]:
    random = np.random.default_rng(2)
    return random.standard_normal((7, DIM)).astype(np.float32)[random.integers(0, 7, ROWS)]


DATA = {
    "clusters": lambda: clustered(ROWS, DIM, queries=1, seed=1, clusters=30)[0],
    "giant-cluster": giant_cluster,
    "islands": islands,
    "few-different": few_different,
    "all-equal": lambda: np.ones((ROWS, DIM), np.float32),
    "on-a-line": lambda: np.arange(ROWS, dtype=np.float32)[:, None] * np.ones(DIM, np.float32),
}


def pages_of(path: Path) -> tuple[PageFile, int]:
    """The pages that are walked, and the number of their places for vectors."""
    file = read_page_file(next(path.glob("seg-*/pages.bin")).read_bytes())
    return file, file.header["capacity"]


def targets_of(file: PageFile, capacity: int) -> list[set[int]]:
    """The other pages that each page has edges to."""
    found = [{*page.links.tolist(), *(page.slots // capacity).tolist()} for page in file.pages]
    return [targets - {number} for number, targets in enumerate(found)]


def entries_of(pages: int, group_pages: int) -> list[int]:
    """The first page below each unit of the top level of a router of 32 units a unit."""
    units, below = -(-pages // group_pages), 1
    while units > LANES:
        units, below = -(-units // LANES), below * LANES
    return [unit * below * group_pages for unit in range(units)]


def reached_from(entries: list[int], targets: list[set[int]]) -> set[int]:
    found, waiting = set(entries), list(entries)
    while waiting:
        new = targets[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize("memory_bytes", [2 << 20, 60 << 10])
@pytest.mark.parametrize("name", DATA)
def test_every_page_is_reachable(tmp_path: Path, name: str, memory_bytes: int) -> None:
    """With codes in memory pages have links; without they have representatives."""
    plan = plan_shape(ROWS, DIM, np.dtype(np.float32), Metric.L2, memory_bytes, None)
    small = build_small(tmp_path / "segment", DATA[name](), Metric.L2, plan.shape, rotate=plan.rotate)
    file = read_page_file((small.folder / "pages.bin").read_bytes())
    pages, group_pages = len(file.pages), plan.shape.group_pages
    assert pages > LANES * group_pages, "more pages than entries"
    targets = targets_of(file, plan.shape.capacity)
    assert reached_from(entries_of(pages, group_pages), targets) == set(range(pages))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sound_index(samples: Samples, layout: str) -> None:
    sample = samples(LAYOUTS[layout])
    with sample.open() as index:
        graph = index.doctor().graph
        group_pages = index.describe()["layout"]["group_pages"]
    pages = len(pages_of(sample.path)[0].pages)
    assert (graph.pages, graph.reached_pages, graph.lost_pages) == (pages, pages, ())
    assert graph.entry_pages == len(entries_of(pages, group_pages))


def lost_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose pages were not joined."""
    monkeypatch.setattr(builder_segment, "join_lost_pages", lambda *arguments: 0)
    pageann.build(islands(), tmp_path / "lost", memory="2MiB", threads=1)
    return tmp_path / "lost"


def test_lost_pages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lost_index(tmp_path, monkeypatch)
    file, capacity = pages_of(path)
    lost = set(range(len(file.pages))) - reached_from(
        entries_of(len(file.pages), 1), targets_of(file, capacity)
    )
    with pageann.open(path, threads=1) as index:
        report = index.doctor()
    assert lost
    assert report.graph.reached_pages == len(file.pages) - len(lost)
    assert list(report.graph.lost_pages) == sorted(lost)[:10]
    assert any(f"{len(lost)} pages cannot be reached" in finding for finding in report.findings)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fill_and_degrees(samples: Samples, layout: str) -> None:
    sample = samples(LAYOUTS[layout])
    with sample.open() as index:
        graph = index.doctor().graph
    file, capacity = pages_of(sample.path)
    targets = targets_of(file, capacity)
    degrees = np.bincount([page for each in targets for page in each], minlength=len(targets))
    assert graph.vector_fill == pytest.approx(sample.kind.rows / (capacity * len(targets)))
    for places, fill, held in (
        (file.header["link_capacity"], graph.link_fill, sum(len(page.links) for page in file.pages)),
        (file.header["rep_capacity"], graph.rep_fill, sum(len(page.slots) for page in file.pages)),
    ):
        assert fill == pytest.approx(held / (places * len(targets)) if places else 1.0)
    assert graph.out_degree == pytest.approx(sum(map(len, targets)) / len(targets))
    named = dict(graph.in_degree)
    assert (named["least"], named["most"]) == (degrees.min(), degrees.max())
    assert named["50 %"] == np.sort(degrees)[(len(degrees) - 1) // 2]
    assert graph.pages_without_in_edges == (degrees == 0).sum()
    assert 0.5 < graph.byte_fill <= 1


def test_short_memory_changes_nothing(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edges are read again, and vectors hashed in several rounds."""
    path = lost_index(tmp_path, monkeypatch)
    for place in (path, samples(LAYOUTS["walk"]).path):
        with pageann.open(place, threads=1) as index:
            usual = index.doctor()
            with monkeypatch.context() as patch:
                patch.setattr(examination, "EXAMINATION_BYTES", 64 << 10)
                short = index.doctor()
        assert short.graph == usual.graph
        assert short.data == usual.data
        assert short.memory_bytes < usual.memory_bytes
        assert short.read_bytes > usual.read_bytes


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_duplicates_are_counted(tmp_path: Path, dtype: str) -> None:
    base, _ = clustered(2000, 17, dtype=dtype, queries=1, seed=9)
    base = np.unique(base, axis=0)
    distinct = len(base)
    base = np.concatenate([base, base[:300], np.repeat(base[7:8], 90, axis=0)])
    base = base[np.random.default_rng(0).permutation(len(base))]
    pageann.build(base, tmp_path / "index", memory="1MiB", threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        report = index.doctor()
    assert report.data.duplicate_rows == len(base) - distinct == 390
    assert report.data.largest_group == 92
    assert any("repeat an earlier one" in finding for finding in report.findings)


def flat(dim: int, rows: int = 4000, ambient: int = 24) -> NDArray[np.float32]:
    """Uniform in a cube of ``dim`` dimensions, turned into ``ambient``."""
    random = np.random.default_rng(dim)
    turn = np.linalg.qr(random.standard_normal((ambient, ambient)))[0][:dim]
    return (random.random((rows, dim)) @ turn).astype(np.float32)


@pytest.mark.parametrize(("dim", "least", "most"), [(2, 1.8, 2.3), (5, 4.2, 5.5), (10, 7.5, 10.5)])
def test_intrinsic_dimension(tmp_path: Path, dim: int, least: float, most: float) -> None:
    """The estimate is known to fall short where neighbours are far away compared with the cube."""
    pageann.build(flat(dim), tmp_path / "index", memory="2MiB", threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        report = index.doctor()
    assert report.data.intrinsic_dim is not None
    assert least < report.data.intrinsic_dim < most
    assert report.findings == ()


@pytest.mark.parametrize("metric", ["l2", "ip", pytest.param("cosine", marks=pytest.mark.slow)])
def test_near_uniform_data_is_named(tmp_path: Path, metric: str) -> None:
    base = np.random.default_rng(0).standard_normal((1500, 120)).astype(np.float32)
    pageann.build(base, tmp_path / "index", metric=metric, memory="2MiB", threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        report = index.doctor()
    assert any(finding.startswith("near-uniform data") for finding in report.findings)
    assert report.data.contrast is not None
    assert report.data.contrast < 1.25


def test_lengths_under_cosine_and_ip(tmp_path: Path) -> None:
    base, _ = clustered(1500, 16, queries=1, seed=2, norm_sigma=0.3)
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)

    def findings(vectors: NDArray[Any], metric: str) -> str:
        pageann.build(vectors, tmp_path / "index", metric=metric, memory="1MiB", threads=1)
        with pageann.open(tmp_path / "index", threads=1) as index:
            return " ".join(index.doctor().findings)

    assert "not of unit length" in findings(base, "cosine")
    assert "unit length" not in findings(unit, "cosine")
    assert "same length" in findings(unit, "ip")
    assert "length" not in findings(base, "ip")
    assert "length" not in findings(base, "l2")


def test_the_report_is_plain_values(samples: Samples) -> None:
    sample = samples(LAYOUTS["two-tier"])
    with sample.open() as index:
        report = index.doctor()
    plain = report.to_dict()
    assert plain["graph"]["in_degree"]["most"] == dict(report.graph.in_degree)["most"]
    assert plain["rows"] == sample.kind.rows
    assert str(report).splitlines()[0] == f"DoctorReport: {sample.path}"
    index.close()
    with pytest.raises(pageann.IndexClosed):
        index.doctor()
