"""A mistake is one line that says what is wrong and where to look.

Guarded: tracebacks, argparse's usage dumps, abbreviated options that change meaning when an option is
added, and option values that only fail deep inside the library.
"""

from __future__ import annotations

import pytest

from tests.reference.program import Program

SEARCH = ("search", "some.pageann", "--queries", "q.npy")
BENCH = ("bench", "some.pageann", "--queries", "q.npy", "--truth", "t.npy")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "COMMAND"),
        (("serch",), "serch"),
        (("build", "in.npy"), "INDEX"),
        (("build", "in.npy", "out", "--metrik", "l2"), "--metrik"),
        (("build", "in.npy", "out", "--metric", "l1"), "l1"),
        (("build", "in.npy", "out", "--no-rep"), "--no-rep"),
        (("build", "", "out"), "INPUT"),
        (("search", "some.pageann"), "--queries"),
        ((*SEARCH, "--k", "0"), "--k"),
        ((*SEARCH, "--k", "ten"), "ten"),
        ((*SEARCH, "--recall", "95"), "0.95"),
        ((*SEARCH, "--recall", "nan"), "nan"),
        ((*SEARCH, "--recall", "0.9", "--effort", "40"), "--recall"),
        ((*SEARCH, "--exact", "--effort", "40"), "--exact"),
        ((*SEARCH, "--deadline", "inf"), "inf"),
        ((*BENCH, "--effort", "20,,40"), "--effort"),
        ((*BENCH, "--effort", "20", "--recall", "0.9"), "--effort"),
        ((*BENCH, "--concurrency", "1,0"), "'0'"),
        (("verify",), "INDEX"),
    ],
)
def test_mistake(program: Program, arguments: tuple[str, ...], named: str) -> None:
    outcome = program(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("pageann: error: ")
    assert outcome.err.count("\n") == 1
    assert named in outcome.err
    assert "--help`" in outcome.err
