"""Imports run downward only, and a wrong one is caught.

Guarded: a layer that reaches up, which no other test would notice; a contract that passes because the
checker does not see the folders that ``pyproject.toml`` maps into the package. So each planted import
must fail, on a copy laid out as an installation is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reference.installed_copy import ROOT, copy_package

PLANTED = [
    ("storage/format.py", "pageann.index", "Imports run downward only"),
    ("datasets/source.py", "pageann.storage", "Imports run downward only"),
    ("storage/format.py", "pageann.datasets", "Imports run downward only"),
    ("types.py", "pageann.results", "Imports run downward only"),
    ("cli/search.py", "pageann.storage", "use only what a user of the library could use"),
    ("client/facts.py", "pageann.server", "Imports run downward only"),
    ("client/facts.py", "pageann.api", "A client needs no index"),
    ("server/v1/pageann_pb2.py", "pageann.types", "Generated stubs use nothing of ours"),
]


def check_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contract on the package in ``folder``."""
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    shutil.copy(ROOT / "pyproject.toml", folder)
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )


def test_the_code_keeps_the_contract(tmp_path: Path) -> None:
    copy_package(tmp_path)
    done = check_imports(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 4 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(("file", "imported", "contract"), PLANTED)
def test_a_planted_import_breaks_it(tmp_path: Path, file: str, imported: str, contract: str) -> None:
    path = copy_package(tmp_path) / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\nimport {imported}\n", encoding="utf-8")
    done = check_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert any(contract in line for line in broken), done.stdout
    module = "pageann." + file.removesuffix(".py").replace("/", ".")
    assert f"{module} -> {imported}" in done.stdout
