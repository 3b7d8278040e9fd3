"""``pageann explain`` tells of the query that was meant, and of nothing else.

Guarded: a row of another block of the file, an option that does not reach the library, a picture in
place of the report.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.datasets.synthetic import clustered
from tests.reference.program import Program

BASE, QUERIES = clustered(600, 16, queries=12, clusters=8, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index and a file of queries."""
    folder = tmp_path_factory.mktemp("explained")
    np.save(folder / "queries.npy", QUERIES)
    pageann.build(BASE, folder / "index", memory="1MiB", threads=1)
    return folder


def test_json_is_of_the_row_that_was_asked_for(folder: Path, program: Program) -> None:
    given = ("explain", folder / "index", "--queries", folder / "queries.npy", "--json")
    outcome = program(*given, "--row", 7, "--k", 5, "--effort", 30, "--max-page-reads", 4)
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    with pageann.open(folder / "index") as index:
        expected = index.explain(QUERIES[7], 5, effort=30, max_page_reads=4)
    assert told["ids"] == list(expected.ids)
    assert (told["k"], told["effort"], told["max_page_reads"]) == (5, 30, 4)
    assert [each["id"] for each in told["truth"]] == [each.id for each in expected.truth or ()]


def test_a_row_of_a_later_block(folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pageann.cli.explain._BLOCK_ROWS", 5)
    given = ("explain", folder / "index", "--queries", folder / "queries.npy", "--no-truth", "--json")
    with pageann.open(folder / "index") as index:
        for row in (0, 4, 5, 11):
            told = json.loads(program(*given, "--row", row).out)
            assert told["ids"] == index.search(QUERIES[row]).ids[0].tolist()
            assert told["truth"] is None


def test_report_and_picture(folder: Path, program: Program, tmp_path: Path) -> None:
    picture = tmp_path / "query.svg"
    given = ("explain", folder / "index", "--queries", folder / "queries.npy", "--memory", "2MiB")
    outcome = program(*given, "--svg", picture)
    assert outcome.code == 0, outcome.err
    assert "true neighbours: " in outcome.out
    assert str(picture) in outcome.err
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--row", "12"), "holds 12 queries"),
        (("--row", "-1"), "whole number"),
        (("--recall", "0.9", "--effort", "3"), "not allowed with"),
        (("--json", "--svg", "x.svg"), "not allowed with"),
        (("--svg", "nowhere/x.svg"), "No such file"),
    ],
)
def test_mistakes(folder: Path, program: Program, arguments: tuple[str, ...], said: str) -> None:
    outcome = program("explain", folder / "index", "--queries", folder / "queries.npy", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
