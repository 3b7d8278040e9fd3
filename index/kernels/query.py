"""Load a query: its exact form, its form in navigation space, and the tables that codes are scored with.

Navigation space is where pages, codes and the router live. Scores there are squared Euclidean
distances for l2, the same between unit vectors for cosine (twice the distance), and minus twice the
inner product for ip (twice the distance); int8 is shifted to uint8, which changes l2 not at all and ip by a
constant of the query.
"""

from __future__ import annotations

import numpy as np

from pageann.index.kernels.scan import fill_byte_tables, fill_tables
from pageann.index.kernels.state import (
    CALL_INTEGRAL,
    KIND_BYTES,
    P_CODE_BYTES,
    P_CODE_KIND,
    P_DIM,
    P_METRIC,
    P_NAV_SHIFT,
    P_QUANTISED,
    P_REP_BYTES,
    Q_INVERSE_NORM,
    Q_NAV_FACTOR,
    Q_NAV_SQUARE,
    Q_NAV_TERM,
    Q_QUANTISED_TERM,
    T_CODE,
    T_REP,
    T_ROUTER,
)
from pageann.jit import FAST, kernel

__all__ = ["load_query"]

_L2, _IP, _COSINE = 0, 1, 2


@kernel(fastmath=FAST)
def _rotate(rotation, scale, row, rotated):  # type: ignore[no-untyped-def]
    """``rotated = scale * rotation @ row``, or a copy where there is no rotation."""
    if rotation.shape[0] == 0:
        for i in range(row.shape[0]):
            rotated[i] = row[i]
        return
    for i in range(rotation.shape[0]):
        total = np.float32(0)
        for j in range(row.shape[0]):
            total += np.float32(rotation[i, j]) * row[j]
        rotated[i] = total * np.float32(scale)


@kernel
def _fill(work, slot, which, rotation, scale, starts, words, inner):  # type: ignore[no-untyped-def]
    dim = work.nav.shape[1]
    _rotate(rotation, scale, work.nav[slot], work.rotated[:dim])
    base, step = fill_tables(
        work.rotated[:dim], starts, words, inner, work.table_values, work.tables[slot, which]
    )
    work.table_scalars[slot, which, 0] = base
    work.table_scalars[slot, which, 1] = step


@kernel
def _fill_bytes(resident, work, slot):  # type: ignore[no-untyped-def]
    dim = work.nav.shape[1]
    _rotate(resident.code_rotation, resident.code_scale, work.nav[slot], work.rotated[:dim])
    base, step = fill_byte_tables(
        work.rotated[:dim], resident.code_starts, resident.code_words, work.table_values,
        work.tables[slot, T_CODE],
    )  # fmt: skip
    work.table_scalars[slot, T_CODE, 0] = base
    work.table_scalars[slot, T_CODE, 1] = step


@kernel
def _prepare_quantised(resident, work, slot):  # type: ignore[no-untyped-def]
    """What 8-bit vectors are scored with; see ``scalar_quantised_value``."""
    dim = work.nav.shape[1]
    term = np.float32(0)
    for i in range(dim):
        low = resident.quantised_low[i]
        step = resident.quantised_step[i]
        if resident.parameters[P_METRIC] == _IP:
            work.quantised[slot, dim + i] = np.float32(-2) * work.nav[slot, i] * step
            term -= np.float32(2) * work.nav[slot, i] * low
        else:
            work.quantised[slot, i] = work.nav[slot, i] - low
            work.quantised[slot, dim + i] = step
    work.query_scalars[slot, Q_QUANTISED_TERM] = term


@kernel
def load_query(resident, work, slot, query):  # type: ignore[no-untyped-def]
    """Prepare row ``slot`` of ``work`` for ``query`` float32 (dim,)."""
    parameters = resident.parameters
    dim = parameters[P_DIM]
    metric = parameters[P_METRIC]
    shift = np.float32(parameters[P_NAV_SHIFT])
    integral = work.call[CALL_INTEGRAL] != 0
    square = 0.0
    total = 0.0
    for i in range(dim):
        value = np.float64(query[i])
        work.query[slot, i] = value
        work.query_integer[slot, i] = np.int32(value) if integral else np.int32(0)
        square += value * value
        total += value
    inverse = 1.0 / np.sqrt(square) if square > 0 else 0.0
    factor = 1.0 if metric == _L2 else 2.0
    term = -2.0 * shift * total if metric == _IP else 0.0
    for i in range(dim):
        if metric == _COSINE:
            work.nav[slot, i] = np.float32(work.query[slot, i] * inverse)
        elif metric == _IP:
            work.nav[slot, i] = query[i]
        else:
            work.nav[slot, i] = query[i] + shift
    work.query_scalars[slot, Q_INVERSE_NORM] = inverse
    work.query_scalars[slot, Q_NAV_FACTOR] = factor
    work.query_scalars[slot, Q_NAV_TERM] = term
    work.query_scalars[slot, Q_NAV_SQUARE] = square
    _fill(
        work, slot, T_ROUTER, resident.router_rotation, resident.router_scale, resident.router_starts,
        resident.router_words, metric == _IP,
    )  # fmt: skip
    if parameters[P_CODE_KIND] == KIND_BYTES:
        _fill_bytes(resident, work, slot)
    elif parameters[P_CODE_BYTES] > 0:
        _fill(
            work, slot, T_CODE, resident.code_rotation, resident.code_scale, resident.code_starts,
            resident.code_words, True,
        )  # fmt: skip
    if parameters[P_REP_BYTES] > 0:
        for i in range(work.kept_cells.shape[1]):
            work.kept_cells[slot, i] = -1  # scores of cells are by the tables of one query
        _fill(
            work, slot, T_REP, resident.rep_rotation, resident.rep_scale, resident.rep_starts,
            resident.rep_words, True,
        )  # fmt: skip
    if parameters[P_QUANTISED] != 0:
        _prepare_quantised(resident, work, slot)
