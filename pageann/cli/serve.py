"""``pageann serve``: answer searches over gRPC."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from pageann.cli.parsing import Parser, Subparsers, add_command, existing_text

__all__ = ["OPTIONS", "SWITCHES", "add_parser", "run"]

_DESCRIPTION = """\
Opens the indexes and answers searches over gRPC until SIGTERM. Every option can also stand in a TOML file
(`rate_per_second = 100`) and in the environment (`PAGEANN_RATE_PER_SECOND=100`); flags win over the
environment, and that over the file. Without TLS and keys it listens on this machine only."""

_PROGRAM = "pageann.server.command"
"""Loaded by name when the command runs: the service lies above the command line, not below it."""

OPTIONS = {
    "listen": ("HOST:PORT", "address of the service (default: 127.0.0.1:50051)"),
    "metrics-listen": (
        "HOST:PORT",
        "address of the Prometheus metrics, '' for none (default: 127.0.0.1:9464)",
    ),
    "memory": ("SIZE", "memory budget of each index: 64MiB, 2GB or 30%% (default: as built)"),
    "swap-memory": ("SIZE", "budget of a new version while the old one answers (default: 50%%)"),
    "io": ("DRIVER", "how pages are read: auto, uring, threads, aio (default: auto)"),
    "threads": ("N", "threads that search each index (default: the cores allowed)"),
    "workers": ("N", "processes that share the port and the memory (default: 1)"),
    "keys-file": ("FILE", "file of hashed API keys"),
    "tls-certificate-file": ("FILE", "certificate chain, PEM"),
    "tls-key-file": ("FILE", "its private key, PEM"),
    "tls-client-ca-file": ("FILE", "authorities of the certificates that clients must show, PEM"),
    "message-bytes": ("SIZE", "largest request (default: 16MiB)"),
    "most-k": ("N", "largest k (default: 10000)"),
    "most-queries": ("N", "most queries, or ids, of a request (default: 10000)"),
    "most-results": ("N", "most results of a request (default: 1000000)"),
    "most-dim": ("N", "most elements of a query (default: 65536)"),
    "concurrency": ("N", "calls at work at a time (default: 64)"),
    "queue": ("N", "calls that may wait; more are refused (default: 256)"),
    "blocking-threads": ("N", "threads for exact and range searches, Get and Explain (default: 2)"),
    "streams": ("N", "open streams (default: 128)"),
    "stream-requests": ("N", "unanswered requests of a stream (default: 64)"),
    "rate-per-second": ("N", "queries a second of each key (default: 0, any number)"),
    "rate-burst": ("N", "queries that a key may send at once (default: 0, those of a second)"),
    "unsent-bytes": ("SIZE", "answers that wait for slow readers (default: 128MiB)"),
    "send-seconds": ("S", "how long a large answer may wait for its reader (default: 30)"),
    "connection-idle-seconds": ("S", "after so long without a call a connection is closed (default: 600)"),
    "notice-seconds": ("S", "at SIGTERM: report NOT_SERVING so long before refusing calls (default: 0)"),
    "drain-seconds": ("S", "at SIGTERM: how long calls may go on (default: 30)"),
    "watch-seconds": ("S", "how often indexes and keys are looked at for changes (default: 1)"),
    "access-log": ("FILE", "a line of JSON a call; - for stdout (default: none)"),
}
"""Options that take a value, as flags, with its form and meaning."""

SWITCHES = {
    "insecure": "listen beyond this machine without TLS and keys",
    "reflection": "describe the protocol to whoever asks",
    "reuse-port": "let another server listen on the same port",
    "tracing": "OpenTelemetry spans",
}
"""Options that are on or off."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command."""
    parser = add_command(subparsers, "serve", "Answer searches over gRPC.", _DESCRIPTION, run)
    parser.add_argument(
        "indexes",
        metavar="[NAME=]INDEX",
        nargs="*",
        type=existing_text,
        help="folder of an index, and the name that requests give it (default: that of the folder)",
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file of options (default: $PAGEANN_CONFIG)")
    _add_options(parser)
    parser.add_argument("--print-config", action="store_true", help="print the options in force, and end")
    parser.add_argument(
        "--hash-key",
        metavar="NAME:ROLE",
        help="read a key from stdin, print its line for the file of keys, and end; ROLE is read or admin",
    )


def _add_options(parser: Parser) -> None:
    for name, (form, text) in OPTIONS.items():
        parser.add_argument(f"--{name}", metavar=form, default=argparse.SUPPRESS, help=text)
    for name, text in SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)


def run(arguments: argparse.Namespace) -> int:
    """Serve, or do the small thing that was asked for."""
    program = importlib.import_module(_PROGRAM)
    if arguments.hash_key is not None:
        return int(program.hash_key(arguments.hash_key))
    return int(program.serve(arguments.config, _given(arguments), print_config=arguments.print_config))


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that stand on the command line, by the names that the server has for them."""
    names = [name.replace("-", "_") for name in (*OPTIONS, *SWITCHES)]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    if arguments.indexes:
        given["indexes"] = arguments.indexes
    return given
