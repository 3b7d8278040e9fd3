"""``pageann explain``: how one query is answered, and why it misses what it misses."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import (
    Subparsers,
    add_command,
    add_container_options,
    add_open_options,
    existing_text,
    fraction,
    positive_int,
    whole_number,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pageann.explanation import Explanation

__all__ = ["add_parser", "run"]

_BLOCK_ROWS = 10_000

_DESCRIPTION = """\
Searches for one query of a file, round by round, and prints a report: which pages were asked for in
each round and why, what they brought, how the candidates closed in, what it cost and why it stopped.
Every page is read once more to find the true neighbours, and each one that the search missed is named
with the reason; --no-truth leaves that out. --svg draws it all as one picture."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "explain", "Show how a query is answered, and why.", _DESCRIPTION, run)
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument(
        "--queries", metavar="FILE", required=True, help="file of query vectors, in any input format"
    )
    parser.add_argument(
        "--row", type=whole_number, default=0, metavar="N", help="which query of the file (default: 0)"
    )
    parser.add_argument("--k", type=positive_int, default=10, metavar="N", help="rows to find (default: 10)")
    quality = parser.add_mutually_exclusive_group()
    quality.add_argument("--recall", type=fraction, metavar="R", help="recall to aim for (default: 0.95)")
    quality.add_argument(
        "--effort", type=positive_int, metavar="N", help="width of the search, instead of a recall"
    )
    parser.add_argument(
        "--max-page-reads", type=positive_int, metavar="N", help="reads that the query may cost"
    )
    parser.add_argument("--no-truth", action="store_true", help="do not look for the true neighbours")
    add_open_options(parser)
    add_container_options(parser, "queries")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--svg", metavar="FILE", help="write a picture to FILE, and the report to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Explain the query and print it."""
    told = _explain(arguments)
    if arguments.svg:
        Path(arguments.svg).write_text(told.to_svg(), encoding="utf-8")
        talk(f"wrote {arguments.svg}")
    with until_closed():
        if arguments.json:
            print_json(told.to_dict(), indent=2)
        else:
            print(told)
    return 0


def _explain(arguments: argparse.Namespace) -> Explanation:
    import pageann

    query = _query(arguments)
    with pageann.open(
        arguments.index, memory=arguments.memory, io=arguments.io, threads=arguments.threads
    ) as index:
        return index.explain(
            query,
            arguments.k,
            recall=arguments.recall,
            effort=arguments.effort,
            max_page_reads=arguments.max_page_reads,
            truth=not arguments.no_truth,
        )


def _query(arguments: argparse.Namespace) -> NDArray[Any]:
    """The row of the file that is asked for."""
    from pageann.datasets.source import open_vectors
    from pageann.errors import InvalidArgument

    source = open_vectors(arguments.queries, column=arguments.column, dataset=arguments.dataset)
    if arguments.row >= source.rows:
        raise InvalidArgument(
            f"--row {arguments.row}: {arguments.queries} holds {source.rows:,} queries; "
            f"give a number from 0 to {source.rows - 1}"
        )
    return next(
        block[arguments.row - first].copy()
        for first, block in source.blocks(_BLOCK_ROWS)
        if arguments.row < first + len(block)
    )
