"""The program on a real index, each command in a process of its own.

Guarded: commands that agree with their tests and not with the library; failures of real files that reach
the user as a traceback or with the wrong code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pageann.datasets.synthetic import clustered
from pageann.datasets.truth import exact_neighbours
from pageann.types import Metric
from tests.reference.program import Outcome

ROWS, DIM, QUERIES = 6000, 32, 50


def pageann(*arguments: object) -> Outcome:
    command = [sys.executable, "-m", "pageann", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def failure_line(outcome: Outcome) -> str:
    """The one line that says why."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("pageann: error: ")]
    assert len(lines) == 1, outcome.err
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, queries, truth, and the index built from them."""
    folder = tmp_path_factory.mktemp("real")
    base, queries = clustered(ROWS, DIM, queries=QUERIES, seed=2)
    ids, _ = exact_neighbours(base, queries, 10, Metric.L2)
    for name, array in (("base", base), ("queries", queries), ("truth", ids)):
        np.save(folder / f"{name}.npy", array)
    outcome = pageann("build", folder / "base.npy", folder / "real.pageann", "--memory", "50%")
    assert outcome.code == 0, outcome.err
    assert f"{ROWS:,} x {DIM} float32" in outcome.out
    return folder


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be damaged."""
    return Path(shutil.copytree(data / "real.pageann", tmp_path / "copy.pageann"))


def test_search_finds_the_true_neighbours(data: Path) -> None:
    given = ("--queries", data / "queries.npy", "--exact", "--output-ids", data / "ids.npy")
    outcome = pageann("search", data / "real.pageann", *given)
    assert outcome.code == 0, outcome.err
    assert np.array_equal(np.load(data / "ids.npy"), np.load(data / "truth.npy"))
    assert len(outcome.out.splitlines()) == QUERIES


def test_bench_writes_figures(data: Path) -> None:
    output = data / "bench.json"
    given = ("--queries", data / "queries.npy", "--truth", data / "truth.npy", "--json", output)
    outcome = pageann("bench", data / "real.pageann", *given, "--recall", "0.9,0.95", "--concurrency", "1,2")
    assert outcome.code == 0, outcome.err
    figures = json.loads(output.read_text())
    assert len(figures["runs"]) == 4
    for run in figures["runs"]:
        assert run["recall"] > 0.8
        assert 0 < run["resident_bytes"] <= run["memory_bytes"]


def test_inspect_prints_json(data: Path) -> None:
    facts = json.loads(pageann("inspect", data / "real.pageann", "--json").out)
    assert (facts["rows"], facts["dim"], facts["dtype"], facts["metric"]) == (ROWS, DIM, "float32", "l2")
    text = pageann("inspect", data / "real.pageann").out
    assert "budget" in text


def test_export_gives_the_input_back(data: Path) -> None:
    output = data / "export.npy"
    assert pageann("export", data / "real.pageann", output).code == 0
    assert np.array_equal(np.load(output), np.load(data / "base.npy"))


def test_verify_finds_the_index_sound(data: Path) -> None:
    outcome = pageann("verify", data / "real.pageann")
    assert (outcome.code, outcome.out) == (0, "")


def test_verify_finds_a_flipped_bit(copy: Path) -> None:
    (page_file,) = copy.glob("seg-*/pages.bin")
    content = bytearray(page_file.read_bytes())
    content[4096 * 3 + 100] ^= 4
    page_file.write_bytes(content)
    outcome = pageann("verify", copy)
    assert outcome.code == 1
    assert "pages.bin\t2\t" in outcome.out


def test_search_of_a_truncated_index(copy: Path, data: Path) -> None:
    for file in copy.glob("seg-*/*.bin"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    outcome = pageann("search", copy, "--queries", data / "queries.npy")
    assert outcome.code == 3
    assert ".bin" in failure_line(outcome)


def test_build_refuses_a_foreign_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    outcome = pageann("build", data / "base.npy", tmp_path)
    assert outcome.code == 2
    assert str(tmp_path) in failure_line(outcome)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_build_refuses_to_replace_when_told(data: Path) -> None:
    outcome = pageann("build", data / "base.npy", data / "real.pageann", "--no-replace")
    assert outcome.code == 2
    assert "real.pageann" in failure_line(outcome)


def test_no_index_there(data: Path, tmp_path: Path) -> None:
    outcome = pageann("search", tmp_path / "nowhere", "--queries", data / "queries.npy")
    assert outcome.code == 2
    assert "nowhere" in failure_line(outcome)


@pytest.mark.parametrize("size", ["lots", "30 apples", "0%", "1KiB"])
def test_a_budget_that_cannot_be(data: Path, size: str) -> None:
    outcome = pageann("search", data / "real.pageann", "--queries", data / "queries.npy", "--memory", size)
    assert outcome.code == 2
    assert failure_line(outcome)


def test_queries_of_another_dimension(data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((2, DIM + 1), np.float32))
    outcome = pageann("search", data / "real.pageann", "--queries", tmp_path / "wrong.npy")
    assert outcome.code == 2
    assert str(DIM + 1) in failure_line(outcome)


def test_bench_as_a_module_is_the_same_program(data: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pageann.bench", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("usage: pageann bench")
