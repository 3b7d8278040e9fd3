"""``pageann verify``: check every byte of an index."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from pageann.cli.output import print_json, talk, until_closed
from pageann.cli.parsing import Subparsers, add_command, existing_text
from pageann.errors import DamagedIndex

__all__ = ["DAMAGE_FOUND", "add_parser", "run"]

DAMAGE_FOUND = 1

_DESCRIPTION = """\
Reads all files and compares every checksum, page number and length. Prints one line for each damaged
place: file, page (where it is in a page) and what is wrong, separated by tabs. Exit code 1 when any
was found, 0 when the index is sound."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    page: int
    what: str


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "verify", "Check every byte of an index.", _DESCRIPTION, run)
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    parser.add_argument("--json", action="store_true", help="print the damaged places as a JSON array")


def run(arguments: argparse.Namespace) -> int:
    """Verify, and print what is damaged."""
    places = _damaged_places(arguments.index)
    with until_closed():
        if arguments.json:
            print_json(
                [{"file": each.file, "page": each.page, "what": each.what} for each in places], indent=2
            )
        else:
            for each in places:
                print(f"{each.file}\t{each.page if each.page >= 0 else '-'}\t{each.what}")
    if not places:
        talk(f"{arguments.index}: sound")
        return 0
    talk(f"{arguments.index}: {len(places)} damaged places; restore it from a copy, or build it again")
    return DAMAGE_FOUND


def _damaged_places(path: str) -> list[_Place]:
    import pageann

    try:
        found = pageann.verify(path)
    except DamagedIndex as error:
        return [_Place(error.file, error.page, str(error))]
    return [_Place(str(each.file), int(each.page), each.what) for each in found]
