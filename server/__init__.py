"""The search service: open indexes behind gRPC. :func:`start` and :func:`serve_in_thread` embed it.

Needs the packages of the extra ``serve``; importing this package alone does not load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pageann.server.config import IndexConfig, ServerConfig
    from pageann.server.run import RunningServer, start
    from pageann.server.threaded import ServerThread, serve_in_thread

__all__ = ["IndexConfig", "RunningServer", "ServerConfig", "ServerThread", "serve_in_thread", "start"]

_HOMES = {
    "IndexConfig": "config",
    "RunningServer": "run",
    "ServerConfig": "config",
    "ServerThread": "threaded",
    "serve_in_thread": "threaded",
    "start": "run",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
