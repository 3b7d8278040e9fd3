"""What the search kernels work on: names of parameters and counters, and the three bundles of arrays.

Kernels take few arguments of fixed types, so that each compiles once: ``Resident`` (an open index,
read only), ``Work`` (the queries that one worker has in flight, one row of each array a query) and
``Asked`` (what it is asked, and the answers).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Asked", "Resident", "Work"]

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int16s = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Parameters of an open index: positions in Resident.parameters.
(
    P_DIM,
    P_METRIC,
    P_DTYPE,
    P_ROWS,
    P_GROUP_SLOTS,
    P_GROUPS,
    P_NAV_SHIFT,
    P_ROUTER_BYTES,
    P_CODE_BYTES,
    P_REP_BYTES,
    P_LEVELS,
    P_START_LEVEL,
    P_GROUP_PAGES,
    P_RERANK,
    P_QUANTISED,
    P_PINNED_PAGES,
    P_PAGE_COUNT,
    P_COPY_BYTES,
    P_CODE_KIND,
) = range(19)
P_LEVEL_OFFSET = 19
"""First of MAX_LEVELS byte offsets into Resident.router_codes."""
MAX_LEVELS = 8
P_LEVEL_UNITS = P_LEVEL_OFFSET + MAX_LEVELS
"""First of MAX_LEVELS unit counts."""
P_PAGE_LAYOUT = P_LEVEL_UNITS + MAX_LEVELS
"""First of the LAYOUT_FIELDS values of the pages that the search reads; the exact records' follow."""
(
    LAYOUT_FD,
    LAYOUT_PAGE_BYTES,
    LAYOUT_CAPACITY,
    LAYOUT_VECTOR_BYTES,
    LAYOUT_VECTORS,
    LAYOUT_ROWS,
    LAYOUT_ROW_BYTES,
    LAYOUT_LINKS,
    LAYOUT_REP_SLOTS,
    LAYOUT_REP_CODES,
    LAYOUT_REP_CAPACITY,
    LAYOUT_TAG,
) = range(12)
LAYOUT_FIELDS = 12
P_EXACT_LAYOUT = P_PAGE_LAYOUT + LAYOUT_FIELDS
PARAMETER_COUNT = P_EXACT_LAYOUT + LAYOUT_FIELDS

# Positions in Resident.scalars.
(
    S_BIAS_STEP,
    S_CODE_LOW,
    S_CODE_STEP,
    S_REP_LOW,
    S_REP_STEP,
    S_CODE_ERROR,
    S_FACTOR_LOW,
    S_FACTOR_STEP,
) = range(8)
SCALAR_COUNT = 8

KIND_NIBBLES, KIND_FACTORED, KIND_BYTES = 0, 1, 2
"""Of resident codes (P_CODE_KIND): 4 bits a part; the same, and a byte behind them, their factor; 8 bits."""

# Options of a call: positions in Work.call.
(
    CALL_K,
    CALL_EFFORT,
    CALL_SCAN_GROUPS,
    CALL_CELLS,
    CALL_FIRST_WIDTH,
    CALL_NEXT_WIDTH,
    CALL_RERANK,
    CALL_MAX_READS,
    CALL_INTEGRAL,
    CALL_WALK_PAGES,
    CALL_STRICTNESS,
) = range(11)
CALL_COUNT = 11

# Counters of one query: positions in a row of Work.counters.
(
    N_PHASE,
    N_POOL,
    N_TOP,
    N_WANTED,
    N_DEVICE_READS,
    N_FRONTIER,
    N_FRONTIER_AT,
    N_RERANK_AT,
    N_READS,
    N_BYTES,
    N_HALF_UNITS,
    N_HOPS,
    N_CODES,
    N_PINNED,
    N_FAULT,
    N_FAULT_PAGE,
    N_FAULT_FILE,
    N_STOP,
    N_START_NS,
    N_ROUTE_NS,
    N_SCAN_NS,
    N_READ_NS,
    N_MARK_NS,
    N_PENDING,
    N_QUERY,
    N_EXCLUDED_ROW,
    N_DEADLINE_NS,
    N_SHARED,
) = range(28)
COUNTER_COUNT = 28
GONE = -1
"""As a deadline: nobody waits for the answer any more."""

# Positions in Asked.flow.
FLOW_NEXT, FLOW_LAST, FLOW_LIVE, FLOW_ENDED, FLOW_ENOUGH, FLOW_WAIT_US = range(6)
"""How many queries were begun, and how many there are, both since the first; how many are begun and have not
ended; how many places of Asked.ended are filled, and how many of those are worth a return to Python; how many
microseconds without a completion are worth one (below 0: none)."""
FLOW_COUNT = 6

PHASE_WALK, PHASE_RERANK, PHASE_DONE = 0, 1, 2
STOP_CONVERGED, STOP_MAX_READS, STOP_DEADLINE, STOP_EXHAUSTED = 0, 1, 2, 3
"""As in :class:`pageann.results.StopReason`."""
ESTIMATED, REFINED, EXACT = 0, 1, 2
"""States of a candidate: from a resident code, from a code on a page, from the vector."""
PINNED = -(1 << 30)
"""In Work.wanted_results: the page is in memory already."""
FAULT_ROW, FAULT_SLOT = 50, 51
"""A sound page names a row, or the slot of a representative, that the index does not have."""
FAULT_READ = 100
"""From here on the read itself failed (errno added; none: it came short). Below 50: as page checks say."""

# Positions in a row of Work.query_scalars.
Q_INVERSE_NORM, Q_NAV_FACTOR, Q_NAV_TERM, Q_QUANTISED_TERM, Q_NAV_SQUARE, Q_LIMIT, Q_FIRST_LIMIT = range(7)
QUERY_SCALARS = 7
T_ROUTER, T_CODE, T_REP = 0, 1, 2
"""Tables of a query: positions in Work.table_scalars (base, step) and Work.tables."""


KEPT_CELLS = 64
"""Cells of the router whose scores a query keeps while it walks; a power of two."""


class Resident(NamedTuple):
    """An open index in memory."""

    parameters: Int64s
    scalars: Floats
    router_codes: Bytes
    """Level by level from the pages up: 32 children together, ``router bytes + 1`` rows of 32 lanes."""
    page_codes: Bytes
    """Group by group: chunks of up to 32 lanes, ``code bytes + 1`` rows each; empty where not resident."""
    pin_index: Int32s
    """Page -> place among the pinned, -1 where not pinned; empty where nothing is."""
    pinned: Bytes
    copy_places: Bytes
    """Slot -> which page of copies has its vector too; see :mod:`.copies`. Empty where there are none."""
    router_rotation: Int16s
    router_scale: float
    router_starts: Int32s
    router_words: Floats
    code_rotation: Int16s
    code_scale: float
    code_starts: Int32s
    code_words: Floats
    rep_rotation: Int16s
    rep_scale: float
    rep_starts: Int32s
    rep_words: Floats
    quantised_low: Floats
    quantised_step: Floats


class Work(NamedTuple):
    """The queries in flight of one worker."""

    call: Int64s
    counters: Int64s
    query: Doubles
    query_integer: Int32s
    nav: Floats
    quantised: Floats
    """(2, dim) a query: what :func:`scalar_quantised_value` takes; empty for indexes of one tier."""
    query_scalars: Doubles
    tables: Bytes
    """(slots, 3, bytes)."""
    table_scalars: Floats
    """(slots, 3, 2)."""
    frontier_scores: Floats
    frontier: Int32s
    pool_scores: Floats
    pool_slots: Int64s
    pool_states: Bytes
    pool_pages: Int64s
    """(2, pool): both pages of each candidate while a round is planned; shared by a worker's queries."""
    pool_weights: Floats
    """(pool,): what it is worth to read either of them; shared too."""
    top_distances: Doubles
    top_rows: Int64s
    top_slots: Int64s
    visited: Int64s
    kept_cells: Int32s
    kept_scores: Floats
    wanted: Int64s
    wanted_addresses: Int64s
    wanted_results: Int32s
    buffers: Int64s
    """(slots, width) addresses of page buffers."""
    unit_scores: Floats
    """Scores of one level of the router; shared by the queries of the worker, like the arrays below."""
    bins: Int32s
    cells: Int32s
    """(2, cells): units whose children are scored, of this level and of the next."""
    cell_scores: Floats
    cell_places: Int32s
    rotated: Floats
    table_values: Floats
    free: Int64s
    """(slots + 1,): rows that no query has, as many as the last element says."""
    retries: Bytes
    """(slots, width): how often each read of a round was asked for again."""
    read_keys: Int64s
    """(slots * width,), like the arrays below a place for each read: see :mod:`.sharing`. The page that it is
    to bring; 0 where it has ended, or no query waits for it any more."""
    read_table: Int32s
    """Chains of the reads that lead, by key, and at the end how many those are."""
    read_chain: Int32s
    """What is next in its chain, plus 1."""
    read_followers: Int32s
    """Of a read that leads the first that follows it, of one that follows the next that does; plus 1."""
    reaped: Int64s
    """Room for the completions that are taken at a time: what each belongs to."""
    reaped_results: Int32s


class Asked(NamedTuple):
    """Queries put to a worker, and their answers: a row of most arrays a query."""

    queries: Floats
    """(q, dim)."""
    excluded: Int64s
    """(q,): a row to leave out of each answer, or -1."""
    rows: Int64s
    """(q, k), like the next two: see :class:`pageann.index.search.answers.Answers`."""
    distances: Doubles
    slots: Int64s
    counts: Int32s
    """(q,): -1 before a query is answered."""
    counters: Int64s
    """(q, COUNTER_COUNT): N_DEADLINE_NS is read when a query begins and before each later round, the rest is
    output."""
    order: Int64s
    """(m,): which queries to answer, in turn; it is used round and round."""
    ended: Int64s
    """(m,): those that have ended and were not handed out."""
    flow: Int64s
    """(FLOW_COUNT,)."""
    stop: Int64s
    """(1,): not 0 ends the call soon, with queries unanswered."""
