"""Clients of the search service: the library's calls and results, over the network.

```python
from pageann.client import Client

with Client("127.0.0.1:50051", "photos") as client:
    ids, distances = client.search(queries, k=10, recall=0.95)
```

:class:`AsyncClient` is its twin for coroutines. Both raise the library's errors: what the service refuses
arrives as the class that it raised there. They need gRPC (``pip install 'pageann[serve]'``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pageann.errors import MissingDependency

if TYPE_CHECKING:
    from pageann.client.aio import AsyncClient
    from pageann.client.channels import ClientTls
    from pageann.client.explanation import RemoteExplanation
    from pageann.client.facts import IndexInfo
    from pageann.client.sync import Client

__all__ = ["AsyncClient", "Client", "ClientTls", "IndexInfo", "RemoteExplanation"]

_HOMES = {
    "AsyncClient": "aio",
    "Client": "sync",
    "ClientTls": "channels",
    "IndexInfo": "facts",
    "RemoteExplanation": "explanation",
}
_FOREIGN = ("google", "grpc")


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _FOREIGN:
            raise
        raise MissingDependency(
            f"a client needs the package {error.name}; install it with pip install 'pageann[serve]'"
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
