"""``pageann plan``: what a build will take, before it is begun."""

from __future__ import annotations

import argparse

from pageann.cli.output import print_json, until_closed
from pageann.cli.parsing import Subparsers, add_command, add_container_options, existing_text, positive_int

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Builds two small samples of INPUT in a temporary folder, and tells from them the time of each phase, the
memory and disk that `pageann build` with the same options would take, the reads of a search, and what the
memory of the open index would be spent on. Takes some ten seconds. The build shows it again at its end,
beside what it took."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "plan", "Predict what a build will take.", _DESCRIPTION, run)
    parser.add_argument("input", metavar="INPUT", type=existing_text, help="file of vectors")
    parser.add_argument(
        "--metric",
        choices=("l2", "ip", "cosine"),
        default="l2",
        help="how vectors are compared (default: l2)",
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory budget of the index (default: 30%% of the vectors)"
    )
    parser.add_argument(
        "--build-memory", metavar="SIZE", help="memory that the build may use (default: 3/4 of what is free)"
    )
    parser.add_argument("--disk", metavar="SIZE", help="as for `pageann build`")
    parser.add_argument("--codes", metavar="FAMILY", default="auto", help="as for `pageann build`")
    parser.add_argument("--page-bytes", metavar="SIZE", help="as for `pageann build`")
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="threads (default: the cores allowed)"
    )
    add_container_options(parser, "vectors")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Predict, and print the plan."""
    from pageann.plan import plan_build
    from pageann.types import parse_bytes

    page_bytes = arguments.page_bytes and parse_bytes(arguments.page_bytes, option="page_bytes").bytes
    plan = plan_build(
        arguments.input,
        metric=arguments.metric,
        memory=arguments.memory,
        build_memory=arguments.build_memory,
        disk=arguments.disk,
        codes=arguments.codes,
        page_bytes=page_bytes,
        threads=arguments.threads,
        column=arguments.column,
        dataset=arguments.dataset,
    )
    with until_closed():
        if arguments.json:
            print_json(plan.to_dict(), indent=2)
        else:
            print(plan)
    return 0
