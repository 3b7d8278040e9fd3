"""The options of commands that can ask a search service instead of opening an index."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pageann.cli.parsing import Parser, existing_text, positive_float

if TYPE_CHECKING:
    from pageann.client import Client

__all__ = ["add_server_options", "connect", "refuse_without_server"]

_ONLY_WITH_SERVER = ("index", "api_key_file", "tls_ca", "timeout")
_ONLY_WITHOUT = ("folder", "memory", "threads")


def add_server_options(parser: Parser) -> None:
    """The options that say which service, and how to speak to it."""
    group = parser.add_argument_group("in place of INDEX")
    group.add_argument("--server", metavar="HOST:PORT", type=existing_text, help="a service to ask")
    group.add_argument(
        "--index", metavar="NAME", type=existing_text, help="which of its indexes (default: its only one)"
    )
    group.add_argument(
        "--api-key-file", metavar="FILE", type=existing_text, help="file that holds the key, and nothing else"
    )
    group.add_argument(
        "--tls-ca",
        metavar="FILE",
        type=existing_text,
        help="speak TLS; the certificate of the service must come from these authorities (PEM)",
    )
    group.add_argument(
        "--timeout",
        type=positive_float,
        metavar="SECONDS",
        help="give up a request after that (default: never)",
    )


def connect(arguments: argparse.Namespace) -> Client:
    """The client that the options describe. Raises InvalidArgument, MissingDependency."""
    from pageann.client import Client, ClientTls
    from pageann.errors import InvalidArgument

    for name in _ONLY_WITHOUT:
        if getattr(arguments, name) is not None:
            what = "INDEX" if name == "folder" else f"--{name}"
            raise InvalidArgument(f"{what} is of an index here, and --server asks a service; drop one")
    if arguments.io != "auto":
        raise InvalidArgument("--io is of an index here, and --server asks a service; drop one")
    return Client(
        arguments.server,
        arguments.index,
        api_key=None if arguments.api_key_file is None else _key_in(arguments.api_key_file),
        tls=None if arguments.tls_ca is None else ClientTls(root_file=arguments.tls_ca),
        timeout=arguments.timeout,
    )


def refuse_without_server(arguments: argparse.Namespace) -> None:
    """InvalidArgument for an option that only a service has."""
    from pageann.errors import InvalidArgument

    for name in _ONLY_WITH_SERVER:
        if getattr(arguments, name) is not None:
            raise InvalidArgument(
                f"--{name.replace('_', '-')} takes --server HOST:PORT too; give it, or drop both"
            )


def _key_in(file: str) -> str:
    from pathlib import Path

    from pageann.errors import InvalidArgument

    try:
        key = Path(file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise InvalidArgument(f"--api-key-file {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        key = ""
    if not key or len(key.split()) != 1:
        raise InvalidArgument(f"--api-key-file {file}: holds no key; put the key there, and nothing else")
    return key
