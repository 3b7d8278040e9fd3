"""The README keeps its word: its example runs, its links lead somewhere, its commands exist.

Guarded: an example that worked once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.datasets.truth import exact_neighbours
from pageann.types import Metric

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_library_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = code_blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(example, "README.md", "exec"), names)
    assert names["ids"].shape == names["distances"].shape == (100, 10)
    assert np.array_equal(names["vectors"], names["base"][names["ids"][0]])
    _, distances = exact_neighbours(names["base"], names["queries"], 10, Metric.L2)
    assert (names["distances"] <= distances[:, -1:] * (1 + 1e-6)).mean() > 0.85


def test_commands_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {word for block in code_blocks("sh") for word in re.findall(r"^make ([a-z-]+)$", block, re.M)}
    assert named == {"demo", "test"}
    assert all(f"\n{target}: " in makefile for target in named)


def test_commands_of_the_program_parse() -> None:
    from pageann.cli.main import program_parser

    lines = [
        line for block in code_blocks("sh") for line in block.splitlines() if line.startswith("pageann ")
    ]
    assert len(lines) >= 5
    for line in lines:
        program_parser().parse_args(line.split()[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_ci_runs_the_test_command_of_this_page() -> None:
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in commands if line.startswith("make ")] == [
        'make check VENV="$work/venv"',
        'make test VENV="$work/venv"',
    ]
