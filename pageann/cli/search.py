"""``pageann search``: the nearest rows of each query of a file, by an index here or one behind a service."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import (
    Parser,
    Subparsers,
    add_command,
    add_container_options,
    add_open_options,
    existing_text,
    fraction,
    positive_float,
    positive_int,
)
from pageann.cli.service import add_server_options, connect, refuse_without_server

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pageann.api import Index
    from pageann.client import Client
    from pageann.results import QueryStats, RangeResult, SearchResult

__all__ = ["add_parser", "run"]

_BLOCK_ROWS = 1000

_DESCRIPTION = """\
Prints one line a query: the number of the query, then `id:distance` of each row found, nearest first,
separated by tabs. Distances are exact: squared Euclidean, minus the inner product, or one minus the
cosine. With --json, one object a line, with the cost of the query.

With --server the index is one that a `pageann serve` holds; INDEX is then left out."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "search", "Find the nearest rows of each query.", _DESCRIPTION, run)
    parser.add_argument(
        "folder",
        metavar="INDEX",
        nargs="?",
        type=existing_text,
        help="folder of the index (without --server)",
    )
    parser.add_argument(
        "--queries", metavar="FILE", required=True, help="file of query vectors, in any input format"
    )
    parser.add_argument("--k", type=positive_int, default=10, metavar="N", help="rows to find (default: 10)")
    _add_quality_options(parser)
    parser.add_argument(
        "--radius", type=float, metavar="R", help="all rows nearer than R, instead of the nearest k"
    )
    parser.add_argument(
        "--deadline", type=positive_float, metavar="SECONDS", help="answer by then with the best so far"
    )
    parser.add_argument(
        "--max-page-reads", type=positive_int, metavar="N", help="reads that a query may cost"
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use the first N queries only")
    add_open_options(parser)
    add_server_options(parser)
    add_container_options(parser, "queries")
    parser.add_argument(
        "--output-ids", metavar="FILE.npy", help="also write the ids as an array of (queries, k)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a query")


def _add_quality_options(parser: Parser) -> None:
    quality = parser.add_mutually_exclusive_group()
    quality.add_argument("--recall", type=fraction, metavar="R", help="recall to aim for (default: 0.95)")
    quality.add_argument(
        "--effort", type=positive_int, metavar="N", help="width of the search, instead of a recall"
    )
    quality.add_argument("--exact", action="store_true", help="compare with every vector")


def run(arguments: argparse.Namespace) -> int:
    """Search block by block, printing as answers come."""
    from pageann.errors import InvalidArgument

    if arguments.radius is not None and arguments.output_ids:
        raise InvalidArgument(
            "--output-ids writes an array of k ids a query, which --radius does not give; drop one"
        )
    with _opened(arguments) as index:
        answers = _Answers(arguments.output_ids is not None)
        with until_closed():
            for first, queries in _query_blocks(arguments):
                answers.add(first, _search(index, queries, arguments), as_json=arguments.json)
        if arguments.output_ids:
            answers.save_ids(arguments.output_ids)
    answers.summarise()
    return 0


def _opened(arguments: argparse.Namespace) -> AbstractContextManager[Index | Client]:
    """The index on the disk, or a client of the one behind ``--server``."""
    if arguments.server is not None:
        return connect(arguments)
    import pageann
    from pageann.errors import InvalidArgument

    if arguments.folder is None:
        raise InvalidArgument("no index to search; give its folder, or a service with --server HOST:PORT")
    refuse_without_server(arguments)
    return pageann.open(arguments.folder, memory=arguments.memory, io=arguments.io, threads=arguments.threads)


def _query_blocks(arguments: argparse.Namespace) -> Iterator[tuple[int, NDArray[Any]]]:
    """(number of the first query, queries) of each block, up to ``--limit``."""
    from pageann.datasets.source import open_vectors

    source = open_vectors(arguments.queries, column=arguments.column, dataset=arguments.dataset)
    limit = min(arguments.limit or source.rows, source.rows)
    for first, block in source.blocks(_BLOCK_ROWS):
        if first >= limit:
            return
        yield first, block[: limit - first]


def _search(
    index: Index | Client, queries: NDArray[Any], arguments: argparse.Namespace
) -> SearchResult | RangeResult:
    radius: float | None = arguments.radius
    return index.search(
        queries,
        arguments.k,
        recall=arguments.recall,
        effort=arguments.effort,
        exact=arguments.exact,
        radius=radius,
        deadline=arguments.deadline,
        max_page_reads=arguments.max_page_reads,
    )


class _Answers:
    """Prints answers, and keeps what is needed after the last one: costs, and ids if asked for."""

    def __init__(self, keep_ids: bool) -> None:
        self._keep_ids = keep_ids
        self._ids: list[NDArray[Any]] = []
        self._stats: list[QueryStats] = []

    def add(self, first: int, result: SearchResult | RangeResult, *, as_json: bool) -> None:
        if result.stats is not None:
            self._stats.append(result.stats)
        if self._keep_ids:
            self._ids.append(result.ids)
        costs = result.stats.to_dict() if as_json and result.stats is not None else {}
        for number in range(len(result)):
            ids, distances = _row(result, number)
            if as_json:
                print_json(
                    _json_row(first + number, ids, distances, bool(result.complete[number]), costs, number)
                )
            else:
                pairs = "".join(f"\t{name}:{distance}" for name, distance in zip(ids, distances, strict=True))
                print(f"{first + number}{pairs}")

    def save_ids(self, path: str) -> None:
        """Write the ids; strings as fixed-width text, so that reading them back needs no pickle."""
        import numpy as np

        ids = np.concatenate(self._ids)
        if ids.dtype == object:
            ids = np.array([["" if name is None else name for name in row] for row in ids], dtype=np.str_)
        with open(path, "wb") as file:
            np.save(file, ids, allow_pickle=False)

    def summarise(self) -> None:
        """Say what the queries cost, and what was wrong with them."""
        from pageann.results import QueryStats

        if not self._stats:
            return
        stats = QueryStats.concatenate(self._stats)
        for warning in stats.warnings:
            talk(f"warning: {warning}")
        means = stats.means()
        talk(
            f"{len(stats):,} queries; a query took {means['reads']:.1f} reads, {means['kib']:.1f} KiB,"
            f" {means['hops']:.1f} hops, {means['total_us']:,.0f} us"
        )


def _row(result: SearchResult | RangeResult, number: int) -> tuple[list[Any], list[np.float32]]:
    from pageann.results import SearchResult

    if isinstance(result, SearchResult):
        count = int(result.counts[number])
        return result.ids[number, :count].tolist(), list(result.distances[number, :count])
    span = slice(int(result.lims[number]), int(result.lims[number + 1]))
    return result.ids[span].tolist(), list(result.distances[span])


def _json_row(
    query: int, ids: list[Any], distances: list[Any], complete: bool, costs: dict[str, Any], number: int
) -> dict[str, Any]:
    # str() of a float32 is the shortest decimal that reads back as the same float32.
    row: dict[str, Any] = {"query": query, "ids": ids, "distances": [float(str(each)) for each in distances]}
    row["complete"] = complete
    if costs:
        row["stats"] = {name: values[number] for name, values in costs.items() if name != "warnings"}
    return row
