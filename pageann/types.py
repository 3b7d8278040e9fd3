"""Words shared by every layer: metrics, element types, byte sizes.

Imports nothing but NumPy, so that any layer may use it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from pageann.errors import InvalidArgument

__all__ = [
    "DTYPES",
    "Metric",
    "dtype_code",
    "dtype_of_code",
    "format_bytes",
    "parse_bytes",
    "require_dtype",
]


class Metric(enum.IntEnum):
    """How two vectors are compared; the value is stored on disk and read by kernels."""

    L2 = 0
    """Squared Euclidean distance."""
    IP = 1
    """Minus the inner product."""
    COSINE = 2
    """One minus the cosine."""

    @classmethod
    def parse(cls, value: str | Metric) -> Metric:
        """The metric called ``value`` (``l2``, ``ip``, ``cosine``)."""
        if isinstance(value, Metric):
            return value
        try:
            return cls[str(value).upper()]
        except KeyError:
            raise InvalidArgument(f"metric {value!r} is not one of l2, ip, cosine") from None

    @property
    def label(self) -> str:
        """The name that users write."""
        return self.name.lower()


DTYPES: tuple[np.dtype[Any], ...] = (
    np.dtype(np.float32),
    np.dtype(np.float16),
    np.dtype(np.int8),
    np.dtype(np.uint8),
)
"""Element types that can be stored; the position in this tuple is the code on disk."""


def dtype_code(dtype: np.dtype[Any]) -> int:
    """The number that stands for ``dtype`` on disk and in kernels."""
    return DTYPES.index(require_dtype(dtype))


def dtype_of_code(code: int) -> np.dtype[Any]:
    """The element type behind a stored number."""
    return DTYPES[code]


def require_dtype(dtype: Any) -> np.dtype[Any]:
    """``dtype`` as one of :data:`DTYPES`, or :class:`InvalidArgument`."""
    found: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if found not in DTYPES:
        names = ", ".join(str(d) for d in DTYPES)
        raise InvalidArgument(f"vectors of type {found} are not supported; convert them to one of {names}")
    return found


_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[a-zA-Z]*)\s*$")


@dataclass(frozen=True, slots=True)
class ByteSize:
    """A size as a user wrote it: a number of bytes, or a share of something."""

    bytes: int
    share: float
    """Share of the raw vector bytes where the user wrote a percentage, else 0."""

    def resolve(self, whole_bytes: int) -> int:
        """The number of bytes, given what 100 % is."""
        return int(self.share * whole_bytes) if self.share else self.bytes


def parse_bytes(value: str | int | ByteSize, *, option: str = "memory") -> ByteSize:
    """Read ``64MiB``, ``2GB``, ``30%``, ``2.5x`` (times the whole) or a plain number of bytes.

    Raises InvalidArgument, naming ``option``, for anything else.
    """
    if isinstance(value, ByteSize):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if value <= 0:
            raise InvalidArgument(f"{option}={value}: a size must be positive")
        return ByteSize(int(value), 0.0)
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidArgument(f"{option}={value!r} is not a size; write it like 64MiB, 2GB or 30%")
    number, unit = float(match[1]), match[2].lower()
    if number <= 0:
        raise InvalidArgument(f"{option}={value!r}: a size must be positive")
    if unit == "%":
        return ByteSize(0, number / 100.0)
    if unit == "x":
        return ByteSize(0, number)
    if unit not in _UNITS:
        raise InvalidArgument(
            f"{option}={value!r}: unknown unit {match[2]!r}; use KiB, MiB, GiB, KB, MB, GB, % or x"
        )
    return ByteSize(int(number * _UNITS[unit]), 0.0)


def format_bytes(count: int) -> str:
    """A number of bytes for people: ``37.6 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
