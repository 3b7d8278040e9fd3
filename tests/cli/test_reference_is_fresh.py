"""``docs/cli.md`` says what the program does.

Guarded: an option that was added, renamed or explained anew without `make docs`.
"""

from __future__ import annotations

from pathlib import Path

from pageann.cli.reference import reference_text

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_page_is_what_the_generator_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_text(), "run `make docs`"


def test_every_line_of_a_table_has_two_cells() -> None:
    rows = [line for line in reference_text().splitlines() if line.startswith("|")]
    assert len(rows) > 60
    assert {line.replace("\\|", "").count("|") for line in rows} == {3}
