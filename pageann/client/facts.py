"""What a service says of its indexes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from pageann.errors import ServiceError
from pageann.results import Ledger, LedgerItem
from pageann.server.v1 import pageann_pb2 as pb
from pageann.types import format_bytes
from pageann.wire.vectors import WIRE_DTYPES

__all__ = ["IndexInfo", "index_info"]

_METRICS: dict[int, str] = {pb.METRIC_L2: "l2", pb.METRIC_IP: "ip", pb.METRIC_COSINE: "cosine"}


@dataclass(frozen=True, slots=True, repr=False)
class IndexInfo:
    """An index that a service holds."""

    name: str
    rows: int
    dim: int
    dtype: np.dtype[Any] | None
    """None while no version of it is open."""
    metric: str
    """``l2``, ``ip`` or ``cosine``; empty while no version of it is open."""
    version: str
    """Changes whenever another build is served."""
    string_ids: bool
    ledger: Ledger
    description: dict[str, Any]
    """What ``Index.describe()`` gives, without paths."""
    draining_ledger: Ledger | None = None
    """Of the version before, while calls on it still run."""
    serving: bool = True

    def __repr__(self) -> str:
        state = "" if self.serving else ", not serving"
        return (
            f"<IndexInfo {self.name!r}: {self.rows:,} x {self.dim} {self.dtype}, {self.metric}, "
            f"version {self.version}, {format_bytes(self.ledger.budget_bytes)} budget{state}>"
        )


def _ledger(message: pb.Ledger) -> Ledger:
    items = tuple(LedgerItem(item.name, item.bytes, item.note) for item in message.items)
    return Ledger(items, message.budget_bytes)


def index_info(message: pb.IndexInfo) -> IndexInfo:
    """The facts in ``message``. Raises ServiceError where they cannot be understood."""
    dtype, metric = WIRE_DTYPES.get(message.dtype), _METRICS.get(message.metric)
    if message.serving and (dtype is None or metric is None):
        raise ServiceError(
            f"the service describes index {message.name!r} by an unknown type or metric; upgrade the client"
        )
    try:
        description = json.loads(message.description_json or "{}")
    except ValueError:
        raise ServiceError(f"the service describes index {message.name!r} by what is no JSON") from None
    return IndexInfo(
        name=message.name,
        rows=message.rows,
        dim=message.dim,
        dtype=None if dtype is None else dtype.newbyteorder("="),
        metric=metric or "",
        version=message.version,
        string_ids=message.string_ids,
        ledger=_ledger(message.ledger),
        description=description,
        draining_ledger=_ledger(message.draining_ledger) if message.HasField("draining_ledger") else None,
        serving=message.serving,
    )
