"""The systems that can be compared, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from pageann.bench.peers.contract import Peer
from pageann.errors import InvalidArgument

__all__ = ["OWN", "PEERS", "kind_of"]

OWN = "pageann"


@dataclass(frozen=True, slots=True)
class _Place:
    module: str
    name: str


PEERS = {
    OWN: _Place("own", "Own"),
    "faiss-hnsw": _Place("faiss_peers", "FaissHnsw"),
    "faiss-ivf": _Place("faiss_peers", "FaissIvf"),
    "hnswlib": _Place("hnswlib_peer", "Hnswlib"),
    "usearch": _Place("usearch_peer", "Usearch"),
    "lancedb": _Place("lancedb_peer", "Lancedb"),
    "zvec": _Place("zvec_peer", "Zvec"),
    "diskannpy": _Place("diskannpy_peer", "Diskannpy"),
}


def kind_of(name: str) -> type[Peer]:
    """The adapter called ``name``; the package behind it is imported by its ``load`` only."""
    if name not in PEERS:
        raise InvalidArgument(f"--compare: {name!r} is unknown; one of {', '.join(PEERS)}")
    place = PEERS[name]
    kind: type[Peer] = getattr(importlib.import_module(f"pageann.bench.peers.{place.module}"), place.name)
    return kind
