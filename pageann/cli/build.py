"""``pageann build``: from a file of vectors to an index."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pageann.cli.interrupt import stop_on_interrupt
from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import Subparsers, add_command, add_container_options, existing_text, positive_int
from pageann.cli.progress import progress_on
from pageann.errors import BuildCancelled

if TYPE_CHECKING:
    from pageann.results import BuildReport

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
INPUT is a .npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .f16bin, .hdf5, .parquet, .arrow or .feather
file of float32, float16, int8 or uint8 vectors. INDEX is the folder to write. An index that is there
is replaced by the new version in one step, after the build; until then it can be searched.
A build that was stopped (Ctrl-C, a signal, a full disk) goes on where it was when the same command
is given again.
Ends with a report on stdout."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "build", "Build an index from a file of vectors.", _DESCRIPTION, run)
    parser.add_argument("input", metavar="INPUT", type=existing_text, help="file of vectors")
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument(
        "--metric",
        choices=("l2", "ip", "cosine"),
        default="l2",
        help="how vectors are compared: squared Euclidean, inner product, cosine (default: l2)",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory budget that the index is laid out for; it opens with any other too "
        "(default: 30%% of the vectors, at least 4 MiB)",
    )
    parser.add_argument(
        "--build-memory", metavar="SIZE", help="memory that the build may use (default: 3/4 of what is free)"
    )
    parser.add_argument(
        "--disk",
        metavar="SIZE",
        help="what the index may take on disk, such as 2.5x (times the vectors) or 3GB; what is left of it "
        "pays for second copies of vectors, which save reads (default: no copies)",
    )
    parser.add_argument(
        "--codes",
        metavar="FAMILY",
        default="auto",
        help="codes that are kept in memory: pq4, pq8, rabitq (1 to 8 bits a dimension, as many as fit) or "
        "sq8; auto takes those that order a sample best for what they cost (default: auto)",
    )
    parser.add_argument(
        "--page-bytes", metavar="SIZE", help="4096, 8192, 16384, 32768 or 65536 (default: 4096)"
    )
    parser.add_argument(
        "--ids", metavar="FILE", help="ids, one a row: .npy, .txt or .parquet (default: row numbers)"
    )
    parser.add_argument(
        "--queries-sample",
        metavar="FILE",
        help="queries to build for, where they do not lie as the vectors do: 50 at least, better 1,000 "
        "(default: recall is calibrated on vectors of INPUT)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of every random choice (default: 0)"
    )
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="threads (default: the cores allowed)"
    )
    parser.add_argument(
        "--no-resume", action="store_true", help="start over where an earlier build was stopped"
    )
    parser.add_argument("--no-replace", action="store_true", help="refuse when an index is there already")
    add_container_options(parser, "vectors", ids=True)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build, drawing progress on stderr, and print the report."""
    try:
        report = _build(arguments)
    except BuildCancelled:
        if not arguments.no_resume:
            talk("the same command goes on from here")
        raise
    with until_closed():
        if arguments.json:
            print_json(report.to_dict(), indent=2)
        else:
            print(report)
    return 0


def _build(arguments: argparse.Namespace) -> BuildReport:
    import pageann
    from pageann.datasets.source import open_vectors
    from pageann.datasets.validate import read_ids
    from pageann.types import parse_bytes

    page_bytes = arguments.page_bytes and parse_bytes(arguments.page_bytes, option="page_bytes").bytes
    vectors = open_vectors(
        arguments.input, column=arguments.column, id_column=arguments.id_column, dataset=arguments.dataset
    )
    with stop_on_interrupt() as stop, progress_on() as draw:

        def progress(event: pageann.Progress) -> bool:
            if event.note:
                talk(event.note)
            if not stop.asked:
                draw(event)
            return not stop.asked

        return pageann.build(
            vectors,
            arguments.index,
            metric=arguments.metric,
            ids=None if arguments.ids is None else read_ids(arguments.ids),
            memory=arguments.memory,
            build_memory=arguments.build_memory,
            disk=arguments.disk,
            codes=arguments.codes,
            page_bytes=page_bytes,
            seed=arguments.seed,
            threads=arguments.threads,
            progress=progress,
            replace=not arguments.no_replace,
            resume=not arguments.no_resume,
            queries_sample=arguments.queries_sample,
        )
