"""``pageann search ... | head -1`` ends quietly.

Guarded: a traceback, or the interpreter's "Exception ignored ... BrokenPipeError", when the reader of
stdout leaves early.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import numpy as np
sys.path.insert(0, sys.argv.pop(1))
from tests.reference.exact_index import ExactIndex, ExactLibrary
sys.modules["pageann.api"] = ExactLibrary(ExactIndex(np.eye(64, 4, dtype=np.float32)))
from pageann.cli.main import entry
entry()
"""


def test_reader_leaves_early(tmp_path: Path) -> None:
    queries = tmp_path / "queries.npy"
    np.save(queries, np.ones((20_000, 4), np.float32))
    command = [sys.executable, "-c", PROGRAM, str(ROOT), "search", "some.pageann", "--queries", str(queries)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("0\t")
        process.stdout.close()
        talk = process.stderr.read()
    assert process.returncode == 0
    assert all(line.startswith("pageann: ") for line in talk.splitlines()), talk
