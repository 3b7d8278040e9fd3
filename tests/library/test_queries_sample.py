"""An index that is built for a sample of queries must serve others like them at the recall asked for.

Guarded: recall that was calibrated on the vectors themselves and is missed by queries from elsewhere,
and a build that goes on with what another sample had begun.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.cli.main import main
from pageann.datasets.synthetic import clustered
from tests.library.brute import measured, recall

ROWS, DIM, OFFSET = 6000, 32, 2.0


def moved(count: int = 500) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(base, sample, queries), half of ``count`` each: all queries moved by the same vector."""
    base, queries = clustered(ROWS, DIM, queries=count, seed=3, clusters=40, query_offset=OFFSET)
    return base, queries[::2].copy(), queries[1::2].copy()


@pytest.mark.parametrize("metric", ["l2", "cosine", pytest.param("ip", marks=pytest.mark.slow)])
@pytest.mark.parametrize("memory", ["200KiB", "96KiB"])
def test_the_recall_asked_for_is_met(tmp_path: Path, metric: str, memory: str) -> None:
    """With coarse codes of all vectors in memory, and with codes on pages alone."""
    base, sample, queries = moved(2000)
    pageann.build(base, tmp_path / "index", metric=metric, memory=memory, queries_sample=sample, threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        result = index.search(queries, 10, recall=0.9)
        assert not measured(result).warnings
        assert (index.describe()["resident"]["code_bytes"] > 0) == (memory == "200KiB")
        assert index.describe()["options"]["queries_sample"]["count"] == len(sample)
    assert recall(result, base, queries, metric) >= 0.885, "0.9, less what 1,000 queries may miss it by"
    assert pageann.verify(tmp_path / "index") == []


def test_codes_know_the_offset(tmp_path: Path) -> None:
    """The same recall of moved queries takes fewer reads than in an index built for its own vectors."""
    base, sample, queries = moved()
    units = {}
    for name, given in (("own", None), ("sample", sample)):
        pageann.build(base, tmp_path / name, memory="150KiB", queries_sample=given, threads=1)
        with pageann.open(tmp_path / name, threads=1) as index:
            found = [index.search(queries, 10, effort=effort) for effort in (7, 10, 15, 22, 33)]
        recalls = [recall(each, base, queries, "l2") for each in found]
        units[name] = np.interp(0.98, recalls, [measured(each).units.mean() for each in found])
    assert units["sample"] < 0.88 * units["own"]


def test_queries_like_the_vectors_change_little(tmp_path: Path) -> None:
    base, queries = clustered(ROWS, DIM, queries=400, seed=3, clusters=40)
    units = []
    for name, given in (("own", None), ("sample", queries[::2].copy())):
        pageann.build(base, tmp_path / name, memory="150KiB", queries_sample=given, threads=1)
        with pageann.open(tmp_path / name, threads=1) as index:
            units.append(measured(index.search(queries[1::2].copy(), 10, recall=0.95)).units.mean())
    assert units[1] == pytest.approx(units[0], rel=0.2)


def digests(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_sample_is_part_of_what_a_build_goes_on_with(tmp_path: Path) -> None:
    base, sample, other = moved()

    def build(name: str, given: NDArray[np.float32], until: str = "", threads: int = 1) -> list[str]:
        """Notes of a build that is cancelled where the phase ``until`` begins."""
        notes: list[str] = []

        def progress(event: pageann.Progress) -> bool:
            notes.extend([event.note] if event.note else [])
            return event.phase != until

        path, memory = tmp_path / name, "200KiB"
        pageann.build(base, path, memory=memory, queries_sample=given, threads=threads, progress=progress)
        return notes

    build("whole", sample, threads=2)
    for name, begun, note in (
        ("resumed", sample, "going on with the build that stopped here"),
        (
            "stale",
            other,
            "removed what a build of another input, other options or another version had left here",
        ),
    ):
        with pytest.raises(pageann.BuildCancelled):
            build(name, begun, until="pages")
        assert build(name, sample) == [note]
        assert digests(tmp_path / name) == digests(tmp_path / "whole")


def test_samples_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, sample, _ = moved()
    with pytest.raises(pageann.InvalidArgument, match="10 are too few to build by"):
        pageann.build(base, tmp_path / "index", queries_sample=sample[:10])
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "narrow.npy", sample[:, :5])
    given = ["build", str(tmp_path / "base.npy"), str(tmp_path / "index"), "--queries-sample"]
    assert main([*given, str(tmp_path / "narrow.npy")]) == 2
    assert "(q, 32)" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "missing.npy")]) == 2
    assert not (tmp_path / "index").exists()
