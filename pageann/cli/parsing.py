"""The argument parser, and the types of arguments that several commands share.

Only what can be said without NumPy is checked here; sizes and metrics are checked by the library,
which names the option itself.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

__all__ = [
    "Parser",
    "Subparsers",
    "add_command",
    "add_container_options",
    "add_open_options",
    "comma_list",
    "existing_text",
    "fraction",
    "positive_float",
    "positive_int",
    "whole_number",
]

USER_MISTAKE = 2

Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line with the remedy, and which guesses no options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with the code of a user's mistake."""
        self.exit(USER_MISTAKE, f"pageann: error: {' '.join(message.split())}; see `{self.prog} --help`\n")


def add_command(
    subparsers: Subparsers,
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> Parser:
    """A parser for the command ``name``, which ``run`` carries out."""
    parser = subparsers.add_parser(name, help=summary, description=f"{summary}\n\n{description}".strip())
    parser.set_defaults(run=run)
    return parser


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def whole_number(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def fraction(text: str) -> float:
    """A number above 0 and at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.95")
    return value


def existing_text(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def comma_list(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """The type of an argument such as ``20,40,80`` whose items are of the type ``item``."""

    def parse(text: str) -> list[Any]:
        return [item(part.strip()) for part in text.split(",")]

    return parse


def add_open_options(parser: Parser) -> None:
    """The options of opening an index for search."""
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory budget: 64MiB, 2GB or 30%% of the vectors (default: as built)",
    )
    _add_io_and_threads(parser)


def add_container_options(parser: Parser, what: str, *, ids: bool = False) -> None:
    """The options that name what to take out of a file that holds several things."""
    parser.add_argument("--column", metavar="NAME", help=f"Parquet and Arrow files: the column of {what}")
    if ids:
        parser.add_argument("--id-column", metavar="NAME", help="Parquet and Arrow files: the column of ids")
    parser.add_argument("--dataset", metavar="NAME", help=f"HDF5 files: the data set of {what}")


def _add_io_and_threads(parser: Parser) -> None:
    parser.add_argument(
        "--io",
        choices=("auto", "uring", "threads", "aio"),
        default="auto",
        help="how pages are read; auto takes the best that works here (default: auto)",
    )
    parser.add_argument(
        "--threads",
        type=positive_int,
        metavar="N",
        help="threads to search with (default: the cores allowed)",
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
