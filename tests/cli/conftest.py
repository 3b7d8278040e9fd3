"""The command line in this process, over a library that needs no index on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pageann.cli.main import main
from tests.reference.exact_index import ExactIndex, ExactLibrary
from tests.reference.program import Outcome, Program


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ExactLibrary:
    """The stand-in for ``pageann.api``: 50 vectors of 4 dimensions."""
    vectors = np.random.default_rng(5).standard_normal((50, 4)).astype(np.float32)
    library = ExactLibrary(ExactIndex(vectors))
    monkeypatch.setitem(sys.modules, "pageann.api", library)
    return library


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Program:
    """Run the program with these arguments."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def queries(tmp_path: Path, library: ExactLibrary) -> Path:
    """A file of 5 queries, each next to the row of its own number."""
    path = tmp_path / "queries.npy"
    np.save(path, library.index.vectors[:5] + np.float32(1e-3))
    return path
