"""A process that only searches loads neither faiss nor scikit-learn; `import pageann` loads little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.library.samples import CODES, Kind, Samples

HEAVY = ("faiss", "sklearn", "pyarrow", "h5py", "rich")
SEARCH = """
import asyncio, sys
import numpy as np
import pageann
with pageann.open(sys.argv[1], io=sys.argv[3], threads=2) as index:
    queries = np.load(sys.argv[2])
    index.search(queries, 10)
    index.search(queries, 10, radius=1.0)
    index.search(queries, 10, exact=True)
    asyncio.run(index.asearch(queries[0]))
    index.get([index.search(queries[0]).ids[0, 0]])
    index.describe(), index.stats(), repr(index), repr(index.ledger)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules_after(program: str, *arguments: object) -> set[str]:
    """Top-level modules that a new process holds after ``program``."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("kind", [CODES, Kind(dtype="uint8", ids="str")], ids=["rows", "names"])
@pytest.mark.parametrize("io", ["auto", "threads", "aio"])
def test_searching(samples: Samples, tmp_path: Path, kind: Kind, io: str) -> None:
    sample = samples(kind)
    np.save(tmp_path / "queries.npy", sample.queries)
    found = modules_after(SEARCH, sample.path, tmp_path / "queries.npy", io)
    assert {"pageann", "numba"} <= found
    assert not found & {*HEAVY, "threadpoolctl"}


def test_importing() -> None:
    program = 'import sys, pageann; print(*{name.partition(".")[0] for name in sys.modules})'
    found = modules_after(program)
    assert "pageann" in found
    assert not found & {*HEAVY, "numba", "llvmlite", "threadpoolctl", "aiofiles", "asyncio"}


def test_errors_can_be_caught_without_the_rest() -> None:
    program = (
        "import sys, pageann\n"
        "try: pageann.open('nowhere')\n"
        "except pageann.IndexNotFound as error: print(error.code)"
    )
    assert modules_after(program) == {"index-not-found"}
