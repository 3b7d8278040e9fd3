"""Looks that are taken again and again while a server runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from pageann.errors import PageANNError

__all__ = ["watch"]

logger = logging.getLogger("pageann.server")


async def watch(looks: Sequence[Callable[[], object]], seconds: float, stopped: asyncio.Event) -> None:
    """Call each of ``looks`` every ``seconds`` until ``stopped``; one that fails is told and called again."""
    while not stopped.is_set():
        for look in looks:
            try:
                look()
            except PageANNError as error:
                logger.error("%s", error)
            except Exception:
                logger.exception("a look at what may have changed failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), seconds)
