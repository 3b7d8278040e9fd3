"""``pageann inspect`` shows every fact that the library gives, for people and as JSON.

Guarded: a fact that is dropped because the printer does not know it.
"""

from __future__ import annotations

import json

from pageann.cli.inspect import report_lines
from tests.reference.exact_index import ExactLibrary
from tests.reference.program import Program


def test_json_is_the_description(program: Program, library: ExactLibrary) -> None:
    assert json.loads(program("inspect", "some.pageann", "--json").out) == library.index.describe()


def test_text_shows_facts_ledger_driver_and_recall_curve(program: Program, library: ExactLibrary) -> None:
    outcome = program("inspect", "some.pageann", "--memory", "4MiB")
    assert library.calls[0][2] == {"memory": "4MiB", "io": "auto", "threads": None}
    for words in ("rows", "float32", "16 centroids", "3.0 MiB", "io_uring is not to be had", "0.955"):
        assert words in outcome.out
    assert library.index.closed


def test_tables_inside_a_list_have_headings() -> None:
    curves = [
        {"k": 1, "points": [{"effort": 10, "recall": 0.9}, {"effort": 200, "recall": 0.99}]},
        {"k": 10, "code_bytes": 31, "points": [{"effort": 20, "recall": 0.8}]},
    ]
    assert list(report_lines({"curves": curves})) == [
        "curves",
        "  k 1",
        "    effort  recall",
        "    10      0.9",
        "    200     0.99",
        "  k 10, code 31 B",
        "    effort  recall",
        "    20      0.8",
    ]


def test_layout() -> None:
    facts = {
        "page_bytes": 8192,
        "rows": 1000000,
        "direct_io": False,
        "parts": [1, 2],
        "note": None,
        "ledger": {
            "budget_bytes": 2048,
            "items": [{"name": "codes", "bytes": 1024}, {"name": "router", "bytes": 10}],
        },
    }
    assert list(report_lines(facts)) == [
        "page       8.0 KiB",
        "rows       1,000,000",
        "direct io  no",
        "parts      1, 2",
        "note       -",
        "ledger",
        "  budget  2.0 KiB",
        "  items",
        "    name    bytes",
        "    codes   1.0 KiB",
        "    router  10 B",
    ]
