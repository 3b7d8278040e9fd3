"""``pageann datasets``: public data sets, their true neighbours, and other formats."""

from __future__ import annotations

import argparse
import time
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
    positive_int,
)

if TYPE_CHECKING:
    from pageann.datasets.catalogue import PublicSet, RemoteFile
    from pageann.results import Progress

__all__ = ["add_parser"]

_DESCRIPTION = """\
list shows the public data sets that are known. Addresses, sizes and licences of those marked unverified
were never checked at their source. fetch downloads one, and goes on where an earlier fetch stopped. truth
computes exact neighbours. convert writes vectors, or a file of neighbour ids, in another format."""

_FETCH = """\
Files are put into --folder. What is there already, and complete, is not fetched again; what stopped half-way
goes on. --rows fetches the first rows of a big-ann file only (compute their truth with `datasets truth`).
Lengths and checksums are compared with the published ones, where there are any; the checksum of what came is
printed in any case."""

_TRUTH = """\
Finds the exact k nearest base vectors of each query, by ascending distance and then row, and writes their
row numbers: .npy, .ivecs or .ibin. Works in blocks; memory does not grow with the base."""

_CONVERT = """\
The suffixes name the formats: .npy, .fvecs, .bvecs, .ivecs, .fbin, .u8bin, .i8bin, .f16bin, .ibin, .hdf5,
.parquet, .arrow or .feather. Every value must survive; float64 alone is rounded to float32."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command and its four parts."""
    parser = add_command(subparsers, "datasets", "Fetch, convert and judge data sets.", _DESCRIPTION, _list)
    parts = parser.add_subparsers(metavar="PART", dest="part", required=True, title="parts")
    listing = add_command(parts, "list", "Show the public data sets.", "", _list)
    listing.add_argument("--json", action="store_true", help="print them as JSON, with addresses")
    _add_fetch(add_command(parts, "fetch", "Download a public data set.", _FETCH, _fetch))
    _add_truth(add_command(parts, "truth", "Compute true neighbours.", _TRUTH, _truth))
    _add_convert(add_command(parts, "convert", "Write vectors in another format.", _CONVERT, _convert))


def _add_fetch(parser: Parser) -> None:
    parser.add_argument(
        "name", metavar="NAME", type=existing_text, help="name of the set, as `list` shows it"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="where files go (default: a folder named like the set)"
    )
    parser.add_argument(
        "--parts",
        type=comma_list(_part),
        metavar="base,queries,truth",
        help="what to fetch (default: all three)",
    )
    parser.add_argument(
        "--rows", type=positive_int, metavar="N", help="fetch the first N rows of the base only"
    )


def _add_truth(parser: Parser) -> None:
    parser.add_argument("base", metavar="BASE", type=existing_text, help="file of base vectors")
    parser.add_argument("queries", metavar="QUERIES", type=existing_text, help="file of query vectors")
    parser.add_argument("output", metavar="OUTPUT", type=existing_text, help="file of row numbers to write")
    parser.add_argument("--k", type=positive_int, default=100, metavar="N", help="neighbours (default: 100)")
    parser.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2", help="default: l2")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="use the first N queries only")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="threads (default: all cores)")
    add_container_options(parser, "base and queries")


def _add_convert(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", type=existing_text, help="file to read")
    parser.add_argument("output", metavar="OUTPUT", type=existing_text, help="file to write")
    parser.add_argument("--rows", type=positive_int, metavar="N", help="write the first N rows only")
    parser.add_argument(
        "--dtype", metavar="TYPE", help="element type (default: the output's, else the input's)"
    )
    add_container_options(parser, "vectors", ids=True)


def _part(text: str) -> str:
    if text not in ("base", "queries", "truth"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of base, queries, truth")
    return text


def _list(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pageann.datasets.catalogue import CATALOGUE

    with until_closed():
        if arguments.json:
            print_json([asdict(entry) for entry in CATALOGUE], indent=2)
            return 0
        head = ("name", "vectors", "metric", "to fetch", "licence", "state", "what it is")
        rows = [head, *(_row(entry) for entry in CATALOGUE)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(entry: PublicSet) -> tuple[str, ...]:
    from pageann.types import format_bytes

    shape = f"{entry.rows:,} x {entry.dim} {entry.dtype}"
    state = "fetched" if entry.verified else "unverified"
    return (
        entry.name,
        shape,
        entry.metric,
        format_bytes(entry.fetched_bytes),
        entry.licence,
        state,
        entry.about,
    )


def _fetch(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from pageann.cli.progress import progress_on
    from pageann.datasets.catalogue import find_set
    from pageann.datasets.fetch import PARTS, fetch_set

    entry = find_set(arguments.name)
    if not entry.verified:
        talk(f"{entry.name} is unverified: its address, size and licence were never checked at their source")
    folder = Path(arguments.folder or entry.name)
    with progress_on() as draw:
        report = _reporter(entry, draw)
        fetched = fetch_set(
            entry, folder, parts=arguments.parts or PARTS, rows=arguments.rows, progress=report
        )
    with until_closed():
        for each in fetched:
            state = "checked" if each.download.checked else "no published checksum"
            print(f"{each.download.path}  {each.download.bytes}  {each.download.sha256}  {state}")
    return 0


def _reporter(entry: PublicSet, draw: Callable[[Progress], None]) -> Callable[[RemoteFile, int, int], None]:
    """Turns bytes of a file into the progress that builds show, too."""
    from pageann.results import Progress

    begun: dict[str, tuple[float, int]] = {}
    start = time.monotonic()

    def report(file: RemoteFile, done: int, total: int) -> None:
        now = time.monotonic()
        first_seconds, first_bytes = begun.setdefault(file.name, (now, done))
        spent = now - first_seconds
        rate = (done - first_bytes) / spent if spent > 0 else 0.0
        left = (total - done) / rate if rate and total else float("inf")
        number = 1 + list(begun).index(file.name)
        draw(Progress(file.name, number, len(entry.files), done, total, rate, left, now - start))

    return report


def _truth(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pageann.datasets.source import open_vectors
    from pageann.datasets.truth import exact_neighbours
    from pageann.datasets.writers import write_vectors
    from pageann.errors import InvalidArgument
    from pageann.types import Metric

    if not arguments.output.lower().endswith((".npy", ".ivecs", ".ibin")):
        raise InvalidArgument(f"{arguments.output}: row numbers go into .npy, .ivecs or .ibin")
    options: dict[str, Any] = {"column": arguments.column, "dataset": arguments.dataset}
    base, asked = open_vectors(arguments.base, **options), open_vectors(arguments.queries, **options)
    queries = next(asked.blocks(min(asked.rows, arguments.limit or asked.rows)))[1]
    talk(f"comparing {len(queries):,} queries with {base.rows:,} vectors")
    metric = Metric.parse(arguments.metric)
    ids, _ = exact_neighbours(base, queries, arguments.k, metric, threads=arguments.threads)
    if arguments.output.lower().endswith(".npy"):
        write_vectors(arguments.output, ids)
    else:
        write_vectors(arguments.output, ids.astype(np.int32))
    talk(f"wrote {ids.shape[0]:,} x {ids.shape[1]} row numbers to {arguments.output}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from pageann.datasets.convert import convert

    done = convert(
        arguments.input,
        arguments.output,
        dtype=arguments.dtype,
        rows=arguments.rows,
        column=arguments.column,
        id_column=arguments.id_column,
        dataset=arguments.dataset,
    )
    ids = ", with ids" if done.ids_kept else ", without the ids of the input" if done.ids_dropped else ""
    talk(f"wrote {done.rows:,} x {done.dim} vectors to {arguments.output}{ids}")
    return 0
