"""``pageann bench``: recall, cost and latency of an index, measured."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import (
    Parser,
    Subparsers,
    add_command,
    add_container_options,
    comma_list,
    existing_text,
    fraction,
    positive_float,
    positive_int,
)

if TYPE_CHECKING:
    from pageann.bench.compare import CompareOptions
    from pageann.bench.options import BenchOptions

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Runs the queries with as many clients as --concurrency says, each with one call in flight, each call
with --batch queries. A client is a thread (one alone is the main thread) or, with --clients tasks, a
coroutine; all of those run in one event loop. With --rate the queries arrive by themselves, at random
times, and waiting for a free client counts. Every combination of --memory, --threads, --start, --effort
or --recall, --concurrency, --clients and --rate is one run, warmed up first unless it starts cold; all
runs are made --repeats times over, and medians are kept. Recall is judged by distance: the true distances
are computed from the vectors of the index before anything is timed. CPU is user and system time of all
threads. Prints a table; --json writes all figures (schema pageann.bench/1), --csv the runs, --html a
report with plots."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(
        subparsers, "bench", "Measure recall, cost and latency of an index.", _DESCRIPTION, run
    )
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    _add_questions(parser)
    _add_combinations(parser)
    parser.add_argument(
        "--repeats", type=positive_int, default=1, metavar="N", help="make every run N times (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of arrivals and bootstrap (default: 0)"
    )
    parser.add_argument(
        "--io", choices=("auto", "uring", "threads", "aio"), default="auto", help="how pages are read"
    )
    _add_comparison(parser)
    add_container_options(parser, "queries")
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file; - is stdout")
    parser.add_argument("--csv", metavar="OUT", help="write the runs to this file, a line each")
    parser.add_argument("--html", metavar="OUT", help="write a report with plots to this file")


def _add_questions(parser: Parser) -> None:
    """What is asked, and what is right."""
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
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use the first N queries only")
    parser.add_argument(
        "--groups", metavar="FILE.npy", help="group of each query, for the confidence interval of recall"
    )


def _add_combinations(parser: Parser) -> None:
    """The options of which every combination is a run."""
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
        "--threads",
        type=comma_list(positive_int),
        metavar="N,...",
        help="threads to search with (default: the cores allowed)",
    )
    parser.add_argument(
        "--start",
        type=comma_list(_one_of("warm", "cold")),
        default=["warm"],
        metavar="warm,cold",
        help="after a warm-up, or just opened with its files out of the page cache (default: warm)",
    )
    parser.add_argument(
        "--concurrency",
        type=comma_list(positive_int),
        metavar="N,...",
        help="clients (default: 1; 64 with --rate)",
    )
    parser.add_argument(
        "--clients",
        type=comma_list(_one_of("threads", "tasks")),
        default=["threads"],
        metavar="threads,tasks",
        help="a thread each, or coroutines of one event loop (default: threads)",
    )
    parser.add_argument(
        "--rate",
        type=comma_list(_rate),
        default=[None],
        metavar="N,...",
        help="queries a second that arrive by themselves; max is as fast as they are answered (default: max)",
    )
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="queries a call (default: 1)"
    )


def _add_comparison(parser: Parser) -> None:
    parser.add_argument(
        "--compare",
        type=comma_list(existing_text),
        metavar="NAME,...",
        help="also ask faiss-hnsw, faiss-ivf, hnswlib, usearch, lancedb, zvec, diskannpy, each in"
        " processes of its own, beside an index of ours that is built and opened for each --memory",
    )
    parser.add_argument(
        "--compare-folder",
        metavar="DIR",
        default="pageann-compare",
        help="where their data and builds are kept (default: pageann-compare)",
    )
    parser.add_argument(
        "--compare-cap",
        metavar="SIZE",
        help="hard limit on what each may take over interpreter and imports: 64MiB, or 40%% of the vectors"
        " (needs root and memory cgroups; says so where it cannot be enforced)",
    )
    parser.add_argument(
        "--compare-seconds",
        type=positive_float,
        default=300.0,
        metavar="N",
        help="give up a run of theirs after so long (default: 300)",
    )


def _one_of(first: str, second: str) -> Callable[[str], str]:
    """What accepts these two words only."""

    def parse(text: str) -> str:
        if text not in (first, second):
            raise argparse.ArgumentTypeError(f"{text!r} is neither {first} nor {second}")
        return text

    return parse


def _rate(text: str) -> float | None:
    return None if text == "max" else positive_float(text)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print or write the figures."""
    from pageann.bench.report import table
    from pageann.bench.run import measure

    options, wanted = _options(arguments), _wanted(arguments)
    _require_folders(arguments)
    figures = measure(options, talk)
    if wanted is not None:
        from pageann.bench.compare import compare

        figures["comparison"] = compare(options, wanted, talk)
    with until_closed():
        if arguments.json == "-":
            print_json(figures, indent=2)
        else:
            print(table(figures))
    _write_files(arguments, figures)
    return 0


def _wanted(arguments: argparse.Namespace) -> CompareOptions | None:
    from pageann.bench.compare import CompareOptions

    if not arguments.compare:
        return None
    return CompareOptions(
        tuple(arguments.compare), arguments.compare_folder, arguments.compare_cap, arguments.compare_seconds
    )


def _require_folders(arguments: argparse.Namespace) -> None:
    """Figures that took an hour must have a place to go."""
    from pathlib import Path

    from pageann.errors import InvalidArgument

    for option in ("json", "csv", "html"):
        path = getattr(arguments, option)
        if path and path != "-" and not Path(path).parent.is_dir():
            raise InvalidArgument(f"--{option} {path}: there is no folder {Path(path).parent}; make it first")


def _write_files(arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    from pageann.bench.page import write_html
    from pageann.bench.report import write_json
    from pageann.bench.spreadsheet import write_csv

    json = None if arguments.json == "-" else arguments.json
    for path, write, what in (
        (json, write_json, "figures are"),
        (arguments.csv, write_csv, "runs are"),
        (arguments.html, write_html, "the report is"),
    ):
        if path:
            write(figures, path)
            talk(f"{what} in {path}")


def _options(arguments: argparse.Namespace) -> BenchOptions:
    from pageann.bench.options import BenchOptions

    open_loop = any(rate is not None for rate in arguments.rate)
    return BenchOptions(
        index=arguments.index,
        queries=arguments.queries,
        truth=arguments.truth,
        k=arguments.k,
        efforts=tuple(arguments.effort or ()),
        recalls=tuple(arguments.recall or ()),
        memories=tuple(arguments.memory or ()),
        threads=tuple(arguments.threads or ()),
        starts=tuple(arguments.start),
        concurrencies=tuple(arguments.concurrency or [64 if open_loop else 1]),
        rates=tuple(arguments.rate),
        clients=tuple(arguments.clients),
        repeats=arguments.repeats,
        batch=arguments.batch,
        limit=arguments.limit,
        groups=arguments.groups,
        seed=arguments.seed,
        io=arguments.io,
        column=arguments.column,
        dataset=arguments.dataset,
    )
