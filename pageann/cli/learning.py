"""What ``tune`` and ``optimize`` share: a file of queries, progress, and a clean stop."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pageann.cli.interrupt import stop_on_interrupt
from pageann.cli.parsing import Parser, add_container_options, existing_text, positive_int
from pageann.cli.progress import progress_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pageann.results import Progress

__all__ = ["add_learning_options", "progress_until_interrupted", "queries_of"]


def add_learning_options(parser: Parser) -> None:
    """The index, the queries and how to report."""
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument(
        "--queries", metavar="FILE", required=True, help="file of query vectors, in any input format"
    )
    add_container_options(parser, "queries")
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="threads (default: the cores allowed)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def queries_of(arguments: argparse.Namespace) -> NDArray[Any]:
    """All queries of the file; mapped where the format allows it."""
    from pageann.datasets.source import open_vectors

    source = open_vectors(arguments.queries, column=arguments.column, dataset=arguments.dataset)
    return source.mapped(None)


@contextlib.contextmanager
def progress_until_interrupted() -> Iterator[Callable[[Progress], bool]]:
    """A callback that draws on stderr, and asks to stop after Ctrl-C."""
    with stop_on_interrupt() as stop, progress_on() as draw:

        def progress(event: Progress) -> bool:
            if not stop.asked:
                draw(event)
            return not stop.asked

        yield progress
