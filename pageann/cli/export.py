"""``pageann export``: the vectors of an index as a file."""

from __future__ import annotations

import argparse

from pageann.cli.output import talk
from pageann.cli.parsing import Subparsers, add_command, existing_text

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Writes the vectors as they were given to `build`, byte for byte and in the same order. The format
follows the suffix of OUTPUT: .npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .f16bin, .hdf5,
.parquet, .arrow or .feather."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "export", "Write the vectors of an index to a file.", _DESCRIPTION, run)
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument("output", metavar="OUTPUT", type=existing_text, help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    import pageann

    with pageann.open(arguments.index) as index:
        index.export(arguments.output)
        talk(f"wrote {index.rows:,} x {index.dim} {index.dtype} vectors to {arguments.output}")
    return 0
