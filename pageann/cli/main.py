"""The program ``pageann``: parse, run one command, turn every failure into one line and an exit code.

| code | meaning |
|---|---|
| 0 | done |
| 1 | ``verify`` found damage |
| 2 | the user's mistake: an option, an input, a path |
| 3 | the index is damaged (any command but ``verify``) |
| 4 | the environment: disk, permission, memory, another builder, a package or a service that is not there |
| 130 | interrupted |
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pageann import __version__
from pageann.cli import (
    bench,
    build,
    datasets,
    explain,
    export,
    inspect,
    optimize,
    plan,
    search,
    serve,
    tune,
    verify,
    warmup,
)
from pageann.cli.output import talk
from pageann.cli.parsing import USER_MISTAKE, Parser
from pageann.errors import (
    BuildCancelled,
    DamagedIndex,
    IndexLocked,
    MissingDependency,
    Overloaded,
    PageANNError,
    ServiceError,
    ServiceUnavailable,
    StorageError,
)

__all__ = ["ENVIRONMENT", "INDEX_DAMAGED", "INTERRUPTED", "entry", "main", "program_parser"]

INDEX_DAMAGED = 3
ENVIRONMENT = 4
INTERRUPTED = 130

_COMMANDS = (
    build,
    search,
    bench,
    explain,
    tune,
    optimize,
    inspect,
    verify,
    export,
    plan,
    warmup,
    serve,
    datasets,
)
_OF_THE_ENVIRONMENT = (
    StorageError,
    IndexLocked,
    MissingDependency,
    Overloaded,
    ServiceError,
    ServiceUnavailable,
)
_MISTAKEN_PATHS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError)


def program_parser() -> Parser:
    """The parser of the whole program, with one subparser a command."""
    parser = Parser(
        prog="pageann",
        description="Vector search from disk, inside a memory budget that you state as one number.",
        epilog="Sizes are written 64MiB, 2GB or 30%. `pageann COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"pageann {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True, title="commands")
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with ``arguments`` (default: those of this process); returns the exit code."""
    parsed = program_parser().parse_args(arguments)
    try:
        return _run(parsed)
    except BuildCancelled:
        talk("cancelled; nothing was published")
    except KeyboardInterrupt:
        talk("interrupted")
    return INTERRUPTED


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _run(parsed: argparse.Namespace) -> int:
    try:
        return int(parsed.run(parsed))
    except BuildCancelled:
        raise
    except PageANNError as error:
        return _fail(str(error), _exit_code(error))
    except OSError as error:
        return _fail(_describe(error), USER_MISTAKE if isinstance(error, _MISTAKEN_PATHS) else ENVIRONMENT)
    except MemoryError:
        return _fail("out of memory; give a smaller --memory or --build-memory", ENVIRONMENT)


def _exit_code(error: PageANNError) -> int:
    if isinstance(error, DamagedIndex):
        return INDEX_DAMAGED
    if isinstance(error, _OF_THE_ENVIRONMENT):
        return ENVIRONMENT
    return USER_MISTAKE


def _describe(error: OSError) -> str:
    """The system's words, and the file that they are about."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _fail(message: str, code: int) -> int:
    talk(f"error: {' '.join(message.split())}")
    return code
