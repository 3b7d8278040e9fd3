"""Where words and data go: talk to stderr, data to stdout, and what happens when a reader leaves."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["print_json", "talk", "until_closed"]


def talk(message: str) -> None:
    """Say one thing to the person at the terminal."""
    with contextlib.suppress(BrokenPipeError):
        print(f"pageann: {message}", file=sys.stderr, flush=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print ``value`` as standard JSON, on one line unless ``indent`` is given."""
    print(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False))


@contextlib.contextmanager
def until_closed() -> Iterator[None]:
    """Print to stdout inside; when its reader has left (``| head``), the rest of the block is dropped."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout again when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
