"""JSON with one spelling: equal values give equal bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

__all__ = ["canonical_json"]


def canonical_json(value: Any, *, indent: int | None = None) -> bytes:
    """``value`` as UTF-8 JSON with sorted keys; NumPy scalars become plain numbers.

    Raises ValueError for NaN and infinity, TypeError for what JSON cannot hold.
    """
    separators = (",", ": ") if indent is not None else (",", ":")
    text = json.dumps(
        value,
        sort_keys=True,
        indent=indent,
        separators=separators,
        ensure_ascii=True,
        allow_nan=False,
        default=_plain,
    )
    return text.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")
