"""``pageann search`` prints what a program can read back without loss.

Guarded: padding printed as an answer, distances that lose digits, JSON that is not JSON (Infinity),
object arrays that need pickle to be read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.reference.exact_index import ExactIndex, ExactLibrary
from tests.reference.program import Program


def test_a_line_a_query(program: Program, library: ExactLibrary, queries: Path) -> None:
    outcome = program("search", "some.pageann", "--queries", queries, "--k", "3")
    assert outcome.code == 0
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert [line[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert [line[1].split(":")[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert {len(line) for line in lines} == {4}
    assert "5 queries; a query took 3.0 reads, 12.0 KiB, 1.0 hops" in outcome.err


def test_distances_are_read_back_unchanged(program: Program, library: ExactLibrary, queries: Path) -> None:
    expected = library.index.search(np.load(queries), 10).distances
    text = program("search", "some.pageann", "--queries", queries).out
    printed = [
        [np.float32(pair.split(":")[1]) for pair in line.split("\t")[1:]] for line in text.splitlines()
    ]
    assert np.array_equal(np.array(printed), expected)
    objects = program("search", "some.pageann", "--queries", queries, "--json").out.splitlines()
    assert np.array_equal(np.array([json.loads(each)["distances"] for each in objects], np.float32), expected)


def test_json_rows_hold_costs_and_no_padding(program: Program, library: ExactLibrary, queries: Path) -> None:
    text = program("search", "some.pageann", "--queries", queries, "--k", "60", "--json").out
    rows = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [row["query"] for row in rows] == [0, 1, 2, 3, 4]
    assert {len(row["ids"]) for row in rows} == {50}
    assert -1 not in rows[0]["ids"]
    assert rows[0]["complete"] is True
    assert (rows[0]["stats"]["reads"], rows[0]["stats"]["stopped"]) == (3.0, "converged")


def test_queries_of_several_blocks_keep_their_numbers(
    program: Program, library: ExactLibrary, queries: Path
) -> None:
    np.save(queries, np.random.default_rng(1).standard_normal((2500, 4)).astype(np.float32))
    lines = program("search", "some.pageann", "--queries", queries, "--k", "1", "--limit", "2100").out
    assert [int(line.split("\t")[0]) for line in lines.splitlines()] == list(range(2100))


def test_options_reach_the_library(
    program: Program, library: ExactLibrary, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    search = library.index.search

    def recording_search(*arguments: object, **options: object) -> object:
        seen.update(options)
        return search(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(library.index, "search", recording_search)
    given = "--effort 70 --deadline 0.5 --max-page-reads 9 --memory 10% --io threads --threads 2"
    assert program("search", "some.pageann", "--queries", queries, *given.split()).code == 0
    assert library.calls == [("open", ("some.pageann",), {"memory": "10%", "io": "threads", "threads": 2})]
    assert seen == {
        "recall": None,
        "effort": 70,
        "exact": False,
        "radius": None,
        "deadline": 0.5,
        "max_page_reads": 9,
    }


def test_radius_prints_all_rows_inside(program: Program, library: ExactLibrary, queries: Path) -> None:
    expected = library.index.search(np.load(queries), radius=2.0)
    text = program("search", "some.pageann", "--queries", queries, "--radius", "2").out
    counts = [len(line.split("\t")) - 1 for line in text.splitlines()]
    assert counts == np.diff(expected.lims).tolist()  # type: ignore[union-attr]
    assert sum(counts) > 5


def test_radius_and_an_array_of_ids_exclude_each_other(
    program: Program, library: ExactLibrary, queries: Path
) -> None:
    outcome = program(
        "search", "some.pageann", "--queries", queries, "--radius", "2", "--output-ids", "ids.npy"
    )
    assert outcome.code == 2
    assert "--output-ids" in outcome.err


def test_ids_as_an_array(program: Program, library: ExactLibrary, queries: Path, tmp_path: Path) -> None:
    output = tmp_path / "ids.npy"
    assert program("search", "some.pageann", "--queries", queries, "--output-ids", output).code == 0
    assert np.array_equal(np.load(output), library.index.search(np.load(queries), 10).ids)


def test_string_ids_need_no_pickle(
    program: Program, library: ExactLibrary, queries: Path, tmp_path: Path
) -> None:
    names = np.array([f"photo-{row}" for row in range(50)], object)
    library.index = ExactIndex(library.index.vectors, names)
    output = tmp_path / "ids.npy"
    given = ("--k", "51", "--output-ids", output, "--json")
    rows = program("search", "some.pageann", "--queries", queries, *given).out.splitlines()
    assert json.loads(rows[2])["ids"][0] == "photo-2"
    ids = np.load(output, allow_pickle=False)
    assert (ids[2, 0], ids[2, 50]) == ("photo-2", "")


def test_an_output_that_cannot_be_written_is_one_line(
    program: Program, library: ExactLibrary, queries: Path, tmp_path: Path
) -> None:
    output = tmp_path / "missing" / "ids.npy"
    outcome = program("search", "some.pageann", "--queries", queries, "--output-ids", output)
    assert outcome.code == 2
    assert str(output) in outcome.err.splitlines()[-1]
