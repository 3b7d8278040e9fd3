"""Arrays for the tests of readers and writers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pageann.types import DTYPES

__all__ = ["vector_arrays"]


@st.composite
def vector_arrays(draw: st.DrawFn, dtypes: tuple[Any, ...] = DTYPES, max_dim: int = 9) -> np.ndarray:
    """Small ``(rows, dim)`` arrays of finite values, of one of ``dtypes``."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, max_dim)))
    if dtype.kind == "f":
        width = dtype.itemsize * 8
        elements = st.floats(-1000, 1000, width=width, allow_subnormal=False)
        return draw(hnp.arrays(dtype, shape, elements=elements))
    return draw(hnp.arrays(dtype, shape))
