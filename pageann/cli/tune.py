"""``pageann tune``: fit what a recall asked for means to one's own queries."""

from __future__ import annotations

import argparse

from pageann.cli.learning import add_learning_options, progress_until_interrupted, queries_of
from pageann.cli.output import print_json, until_closed
from pageann.cli.parsing import Subparsers, add_command

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
A search for --recall 0.95 takes its effort from curves that the build measured on vectors of the index.
Queries that come from elsewhere may be harder: give some of them, 1,000 at best, and the curves are measured
on those, against the truth of an exact scan of the index, and stored in its place as a new version. Vectors
and pages are not touched. Ends with a report on stdout: the effort that each recall takes now."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "tune", "Fit searches by recall to your queries.", _DESCRIPTION, run)
    add_learning_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tune, and print the report."""
    import pageann

    queries = queries_of(arguments)
    with progress_until_interrupted() as progress:
        report = pageann.tune(arguments.index, queries, threads=arguments.threads, progress=progress)
    with until_closed():
        if arguments.json:
            print_json(report.to_dict(), indent=2)
        else:
            print(report)
    return 0
