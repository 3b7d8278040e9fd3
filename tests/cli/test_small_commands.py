"""``export`` and ``warmup`` do what they say and say what they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.reference.exact_index import ExactLibrary
from tests.reference.program import Program


def test_export(program: Program, library: ExactLibrary, tmp_path: Path) -> None:
    output = tmp_path / "vectors.npy"
    outcome = program("export", "some.pageann", output)
    assert (outcome.code, outcome.out) == (0, "")
    assert f"wrote 50 x 4 float32 vectors to {output}" in outcome.err
    assert np.array_equal(np.load(output), library.index.vectors)


def test_warmup(program: Program, library: ExactLibrary) -> None:
    outcome = program("warmup", "--dtype", "float32,uint8")
    assert (outcome.code, outcome.out) == (0, "")
    assert library.calls == [("warmup", (), {"dtypes": ["float32", "uint8"]})]
    assert "kernels are ready" in outcome.err


def test_version(program: Program) -> None:
    import pageann

    assert program("--version").out == f"pageann {pageann.__version__}\n"
