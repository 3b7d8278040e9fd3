"""The monotonic clock, for kernels."""

from __future__ import annotations

import sys

import numpy as np
from numba import types

from pageann.jit import kernel

__all__ = ["now_ns"]

_CLOCK_MONOTONIC = 6 if sys.platform == "darwin" else 1
_signature = types.int32(types.int32, types.CPointer(types.int64))
_clock_gettime = types.ExternalFunction("clock_gettime", _signature)


@kernel
def now_ns():  # type: ignore[no-untyped-def]
    """Nanoseconds of the clock that :func:`time.monotonic_ns` reads."""
    pair = np.empty(2, np.int64)
    _clock_gettime(_CLOCK_MONOTONIC, pair.ctypes)
    return pair[0] * 1_000_000_000 + pair[1]
