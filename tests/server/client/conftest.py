"""Each test runs with both clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.client.doors import KINDS, door


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes a client, each kind in turn; closes it at the end."""
    made: list[Any] = []

    def make(*target: Any, **options: Any) -> Any:
        made.append(door(request.param, *target, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
