"""``pageann inspect``: what an index is, what its memory is spent on, and how it will be read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pageann.cli.output import print_json, until_closed
from pageann.cli.parsing import Subparsers, add_command, add_open_options, existing_text

__all__ = ["add_parser", "report_lines", "run"]

_DESCRIPTION = """\
Opens the index as a search would and prints its facts: rows and pages, the ledger of the memory budget,
the driver that reads its pages and why that one, and the recall to expect of each effort.
With --doctor it also reads all pages, once or twice, and tells whether every page can be reached over
links, how full pages are, how many vectors are equal, how hard the data is, and what is unusual."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(
        subparsers, "inspect", "Show what an index is and holds in memory.", _DESCRIPTION, run
    )
    parser.add_argument("index", metavar="INDEX", type=existing_text, help="folder of the index")
    add_open_options(parser)
    parser.add_argument("--doctor", action="store_true", help="examine all pages and vectors too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the description of the index."""
    import pageann

    with pageann.open(
        arguments.index, memory=arguments.memory, io=arguments.io, threads=arguments.threads
    ) as index:
        facts = index.describe()
        report = index.doctor() if arguments.doctor else None
    with until_closed():
        if arguments.json:
            print_json(facts if report is None else {**facts, "doctor": report.to_dict()}, indent=2)
        else:
            print("\n".join([*report_lines(facts), *([] if report is None else [str(report)])]))
    return 0


def report_lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """``facts`` for people: a line a fact, mappings indented, lists of mappings as tables or sections."""
    plain = {name: value for name, value in facts.items() if not _is_nested(value)}
    width = max((len(_title(name)) for name in plain), default=0)
    for name, value in plain.items():
        yield f"{indent}{_title(name):<{width}}  {_text(name, value)}".rstrip()
    for name, value in facts.items():
        if name in plain:
            continue
        yield f"{indent}{_title(name)}"
        if isinstance(value, Mapping):
            yield from report_lines(value, indent + "  ")
        elif any(_is_nested(each) for row in value for each in row.values()):
            for row in value:
                yield from _section(row, indent + "  ")
        else:
            yield from _table(value, indent + "  ")


def _section(facts: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Plain facts as a heading, with what is nested below it."""
    heading = [
        f"{_title(name)} {_text(name, value)}" for name, value in facts.items() if not _is_nested(value)
    ]
    yield indent + ", ".join(heading)
    for value in facts.values():
        if isinstance(value, Mapping):
            yield from report_lines(value, indent + "  ")
        elif _is_nested(value):
            yield from _table(value, indent + "  ")


def _is_nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return _is_list(value) and len(value) > 0 and isinstance(value[0], Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _title(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _text(name: str, value: Any) -> str:
    from pageann.types import format_bytes

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name == "bytes" or name.endswith("_bytes")):
        return format_bytes(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "-"
    if _is_list(value):
        return ", ".join(_text("", each) for each in value)
    return str(value)


def _table(rows: Sequence[Mapping[str, Any]], indent: str) -> Iterator[str]:
    """Columns under the names of the first row's fields, each as wide as it needs."""
    names = list(rows[0])
    cells = [[_title(name) for name in names]]
    cells += [[_text(name, row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        yield (
            indent + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        ).rstrip()
