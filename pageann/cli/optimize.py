"""``pageann optimize``: pin the pages that one's own queries visit most."""

from __future__ import annotations

import argparse

from pageann.cli.learning import add_learning_options, progress_until_interrupted, queries_of
from pageann.cli.output import print_json, until_closed
from pageann.cli.parsing import Subparsers, add_command, fraction, positive_int

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
What a memory budget has left is spent on pages that stay in memory. The build pins those that most pages
link to; given a log of queries, the pages that they visit most are pinned first. Four fifths of the log
decide, the last fifth measures what it saves at the budget, and only if it surely saves reads is the new
order published, as a new version. Vectors and pages are not touched. Ends with a report on stdout."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "optimize", "Pin the pages that your queries visit.", _DESCRIPTION, run)
    add_learning_options(parser)
    parser.add_argument(
        "--memory", metavar="SIZE", help="budget to optimize for: 64MiB, 2GB or 30%% (default: as built)"
    )
    parser.add_argument(
        "--recall", type=fraction, metavar="R", help="recall that is searched for (default: 0.95)"
    )
    parser.add_argument("--k", type=positive_int, default=10, metavar="N", help="rows to find (default: 10)")


def run(arguments: argparse.Namespace) -> int:
    """Optimize, and print the report."""
    import pageann

    queries = queries_of(arguments)
    with progress_until_interrupted() as progress:
        report = pageann.optimize(
            arguments.index,
            queries,
            memory=arguments.memory,
            recall=arguments.recall,
            k=arguments.k,
            threads=arguments.threads,
            progress=progress,
        )
    with until_closed():
        if arguments.json:
            print_json(report.to_dict(), indent=2)
        else:
            print(report)
    return 0
