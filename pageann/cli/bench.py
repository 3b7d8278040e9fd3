"""``pageann bench``: recall, cost and latency of an index, measured."""

from __future__ import annotations

import argparse

from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import (
    Subparsers,
    add_command,
    add_container_options,
    comma_list,
    existing_text,
    fraction,
    positive_int,
)

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Runs the queries in a closed loop: as many clients as --concurrency says, each with one call in flight,
each call with --batch queries. One client runs in the main thread. Every combination of --memory,
--effort or --recall, and --concurrency is one run, warmed up first. Recall is judged by distance: the
true distances are computed from the vectors of the index before anything is timed. CPU is user and
system time of all threads. Prints a table; --json writes all figures (schema pageann.bench/1)."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(
        subparsers, "bench", "Measure recall, cost and latency of an index.", _DESCRIPTION, run
    )
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument(
        "--queries", metavar="FILE", required=True, help="file of query vectors, in any input format"
    )
    parser.add_argument(
        "--truth",
        metavar="IDS.npy",
        required=True,
        help="ids of the true neighbours: integers, (queries, k or more)",
    )
    parser.add_argument("--k", type=positive_int, default=10, metavar="N", help="rows to find (default: 10)")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--effort", type=comma_list(positive_int), metavar="N,...", help="efforts to run with"
    )
    target.add_argument(
        "--recall", type=comma_list(fraction), metavar="R,...", help="recalls to aim for (default: 0.95)"
    )
    parser.add_argument(
        "--memory",
        type=comma_list(existing_text),
        metavar="SIZE,...",
        help="memory budgets (default: as built)",
    )
    parser.add_argument(
        "--concurrency",
        type=comma_list(positive_int),
        default=[1],
        metavar="N,...",
        help="clients (default: 1)",
    )
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="queries a call (default: 1)"
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use the first N queries only")
    parser.add_argument(
        "--groups", metavar="FILE.npy", help="group of each query, for the confidence interval of recall"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (default: 0)")
    parser.add_argument(
        "--io", choices=("auto", "uring", "threads", "aio"), default="auto", help="how pages are read"
    )
    parser.add_argument("--threads", type=positive_int, metavar="N", help="threads to search with")
    add_container_options(parser, "queries")
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file; - is stdout")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print or write the figures."""
    from pageann.bench.options import BenchOptions
    from pageann.bench.report import table, write_json
    from pageann.bench.run import measure

    options = BenchOptions(
        index=arguments.index,
        queries=arguments.queries,
        truth=arguments.truth,
        k=arguments.k,
        efforts=tuple(arguments.effort or ()),
        recalls=tuple(arguments.recall or ()),
        memories=tuple(arguments.memory or ()),
        concurrencies=tuple(arguments.concurrency),
        batch=arguments.batch,
        limit=arguments.limit,
        groups=arguments.groups,
        seed=arguments.seed,
        io=arguments.io,
        threads=arguments.threads,
        column=arguments.column,
        dataset=arguments.dataset,
    )
    figures = measure(options, talk)
    with until_closed():
        if arguments.json == "-":
            print_json(figures, indent=2)
        else:
            print(table(figures))
    if arguments.json and arguments.json != "-":
        write_json(figures, arguments.json)
        talk(f"figures are in {arguments.json}")
    return 0
