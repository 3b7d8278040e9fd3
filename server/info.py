"""What the service tells of an index: its facts, without any path of this machine."""

from __future__ import annotations

import json
from typing import Any

from pageann.results import Ledger
from pageann.server.swapping import ServedIndex
from pageann.server.v1 import pageann_pb2 as pb
from pageann.types import Metric
from pageann.wire.vectors import dtype_number

__all__ = ["index_info"]

_METRICS = {Metric.L2: pb.METRIC_L2, Metric.IP: pb.METRIC_IP, Metric.COSINE: pb.METRIC_COSINE}
_PATHS = ("path",)


def index_info(served: ServedIndex) -> pb.IndexInfo:
    """The facts of an index. ServiceUnavailable where no version is open."""
    version = served.take()
    try:
        index, description = version.index, version.description
        info = pb.IndexInfo(
            name=served.name,
            rows=index.rows,
            dim=index.dim,
            dtype=dtype_number(index.dtype),
            metric=_METRICS[Metric.parse(index.metric)],
            version=version.name,
            string_ids=description["ids"] == "string",
            ledger=_ledger(index.ledger),
            description_json=json.dumps(_without_paths(description)),
            serving=True,
        )
    finally:
        version.let_go()
    if (draining := served.draining_ledger) is not None:
        info.draining_ledger.CopyFrom(_ledger(draining))
    return info


def _without_paths(description: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in description.items() if name not in _PATHS}


def _ledger(ledger: Ledger) -> pb.Ledger:
    items = [pb.LedgerItem(name=item.name, bytes=item.bytes, note=item.note) for item in ledger.items]
    return pb.Ledger(items=items, budget_bytes=ledger.budget_bytes, total_bytes=ledger.total)
