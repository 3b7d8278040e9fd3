"""``--help`` answers at once.

Guarded: a module that imports NumPy, Numba, faiss or rich at its top, and with that makes every
``--help``, every shell completion and every mistake in an option wait for half a second or more.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = (
    "build",
    "search",
    "bench",
    "explain",
    "tune",
    "optimize",
    "inspect",
    "verify",
    "export",
    "warmup",
    "serve",
    "datasets",
    "plan",
)
PROGRAM = """
import sys
from pageann.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as leaving:
    assert leaving.code == 0, leaving.code
heavy = {"numpy", "numba", "faiss", "sklearn", "rich", "asyncio", "pageann.api"} & set(sys.modules)
print("imported:", sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: pageann")
    assert done.stderr == "imported: []\n"


def test_help_of_the_program_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pageann", "--help"], capture_output=True, text=True, check=True
    )
    assert [name for name in COMMANDS if f"\n    {name} " not in done.stdout] == []
