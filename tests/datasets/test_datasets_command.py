"""``pageann datasets`` from the command line: list, fetch, truth, convert.

Guarded: an unverified set that is fetched without a word; a mistake that is a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pageann.cli.main import main
from pageann.datasets import catalogue
from pageann.datasets.catalogue import CATALOGUE, PublicSet, RemoteFile
from pageann.datasets.truth_files import read_truth_ids
from tests.datasets.faulty_server import Site, serving

BASE = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving(Site(np.array([300, 8], "<u4").tobytes() + BASE.tobytes())) as site:
        file = RemoteFile("base", f"{site.address}/base", "base.fbin", sha256=site.sha256)
        entry = PublicSet("tiny", 300, 8, "float32", "l2", "none", "made up", (file,))
        monkeypatch.setattr(catalogue, "CATALOGUE", (entry,))
        yield site


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(CATALOGUE)
    for line, entry in zip(lines[1:], CATALOGUE, strict=True):
        assert line.startswith(entry.name)
        assert ("unverified" in line) is not entry.verified
    assert main(["datasets", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == [entry.name for entry in CATALOGUE]


def test_fetch(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "fetch", "tiny", "--folder", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'base.fbin'}  {len(site.content)}  {site.sha256}  checked\n"
    assert "unverified" in captured.err
    assert "[1/1] base.fbin" in captured.err


def test_truth_then_convert(tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", BASE)
    np.save(tmp_path / "queries.npy", BASE[:20])
    for suffix in (".npy", ".ivecs", ".ibin"):
        output = tmp_path / f"truth{suffix}"
        arguments = [str(tmp_path / "base.npy"), str(tmp_path / "queries.npy"), str(output)]
        assert main(["datasets", "truth", *arguments, "--k", "5", "--limit", "7"]) == 0
        found = read_truth_ids(output, rows=300)
        assert found.shape == (7, 5)
        assert np.array_equal(found[:, 0], np.arange(7))
    assert main(["datasets", "convert", str(tmp_path / "base.npy"), str(tmp_path / "base.fvecs")]) == 0
    assert (tmp_path / "base.fvecs").stat().st_size == 300 * (4 + 8 * 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "nothing"], "data set 'nothing' is unknown"),
        (["fetch", "sift1m", "--parts", "base,all"], "none of base"),
        (["truth", "a.npy", "b.npy", "c.txt"], "c.txt: row numbers go into"),
        (["convert", "no-such.npy", "b.npy"], "no-such.npy: no such file"),
        (["fly"], "fly"),
        ([], "PART"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["datasets", *arguments])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    error = capsys.readouterr().err
    assert code == 2
    assert words in error
    assert error.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from pageann.cli.main import program_parser; program_parser();"
        " print(sorted({'numpy', 'numba', 'faiss', 'rich', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
