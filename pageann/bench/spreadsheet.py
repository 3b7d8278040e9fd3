"""The runs as CSV: one line a run, nested figures as columns with dotted names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["write_csv"]


def write_csv(figures: Mapping[str, Any], path: str) -> None:
    """Write the runs of ``figures`` (schema ``pageann.bench/1``), and those of a comparison, to ``path``."""
    rows = [dict(_flat("", {"system": "pageann", **run})) for run in figures["runs"]]
    for peer in figures.get("comparison", {}).get("peers", ()):
        rows += [dict(_flat("", {"system": f"compared: {peer['name']}", **run})) for run in peer["runs"]]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        elif isinstance(value, list) and value and all(isinstance(each, (int, float)) for each in value):
            yield f"{prefix}{name}.low", value[0]
            yield f"{prefix}{name}.high", value[-1]
        else:
            yield f"{prefix}{name}", "; ".join(map(str, value)) if isinstance(value, list) else value
