"""Which codes order the data at hand best for what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pageann.index.builder.arrange import Arrangement
from pageann.index.builder.coders import train_coder
from pageann.index.builder.coding import error_weight, take_rows
from pageann.index.builder.fitting import CodeChoice
from pageann.index.builder.navigation import Navigation
from pageann.index.builder.parallel import ranges, run_pieces
from pageann.index.builder.quantizer import Coder
from pageann.index.builder.residency import Pace, Residency
from pageann.index.code_families import Family
from pageann.index.kernels.state import KIND_BYTES, KIND_FACTORED
from pageann.types import Metric

__all__ = ["LEAST_MEASURED_ROWS", "choice_costs", "reads_to_reach", "times_near"]

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

LEAST_MEASURED_ROWS = 1000
"""Of which a sample can tell families apart; of fewer every query looks at most codes anyway."""
_QUERIES = 96
_K = 10
_RECALLS = (0.97, 0.99)
"""Above the usual 0.95, since rows of an index are found more easily than queries; and where coarse codes
do badly that leave memory for many pages (photosift1m at 100 %: 17 bytes are as good as any below)."""
_CANDIDATES = 1000
"""Vectors that a query chooses from: those of the groups nearest to it."""
_CANDIDATE_ELEMENTS = 1 << 19
_LEAST_CANDIDATES = 400
"""Fewer where vectors are long, for the memory that they take."""
_TRAINED_ELEMENTS = 1 << 20
_LEAST_TRAINED = 2048
"""Of residuals that codes are trained on here."""
_READ_COST_US = 120.0
"""Dear, for the codes of an index stay: what a read takes of a network volume of 8,000 a second. Where the
width of scans is chosen, which can be tuned later, it is that of a local disk."""
_SCANNED = 18_000
"""Codes that a query scores: 13,000 to 26,000 on photosift1m and debian384 at recall 0.95."""
_BYTE_COST_US = 0.0001
"""To look a byte of a code up by shuffles, both parts of it."""
_WIDE_BYTE_COST_US = 0.0005
"""The same where it is one part of 256 words, without shuffles."""
_FACTOR_COST_US = 0.001
_COUNTED_ROWS = 1_000_000
_COUNTED_BLOCK_ROWS = 16_384


def _scan_cost_us(family: Family, code_bytes: int, rows: int) -> float:
    """Of one query."""
    if family.kind == KIND_BYTES:
        each = _WIDE_BYTE_COST_US * code_bytes
    else:
        each = _BYTE_COST_US * code_bytes + (_FACTOR_COST_US if family.kind == KIND_FACTORED else 0.0)
    return min(_SCANNED, rows) * each


def reads_to_reach(recall: float, reads: Int64s) -> float:
    """Reads that find a share ``recall`` of what is found by as many ``reads``; interpolated."""
    found = np.cumsum(np.bincount(reads.ravel())) / reads.size
    last = int(np.searchsorted(found, recall))
    if last == 0:
        return 0.0
    before = float(found[last - 1])
    return last - 1 + (recall - before) / (float(found[last]) - before)


def _reads(estimates: Floats, pages: Int64s, wanted: Int64s, pinned: npt.NDArray[np.bool_]) -> Int64s:
    """Reads that it takes to come to each page ``wanted``, best estimate first; pinned ones take none."""
    order = pages[np.argsort(estimates, kind="stable")]
    found, first = np.unique(order, return_index=True)
    in_turn = np.argsort(first)
    reads = np.empty(len(found), np.int64)
    reads[in_turn] = np.cumsum(~pinned[found[in_turn]])
    return np.asarray(reads[np.searchsorted(found, wanted)])


def times_near(
    neighbours: npt.NDArray[np.int32],
    order: npt.NDArray[np.int32],
    capacity: int,
    residency: Residency | None = None,
) -> Int64s:
    """How often vectors of each page are among the nearest of others, as blocks of lists all over tell."""
    slots = np.empty(len(order), np.int64)
    slots[order] = np.arange(len(order))
    counts = np.zeros(-(-len(order) // capacity), np.int64)
    step = max(1, len(neighbours) // _COUNTED_ROWS)
    for first, last in ranges(len(neighbours), _COUNTED_BLOCK_ROWS)[::step]:
        lists = neighbours[first:last, :_K]
        counts += np.bincount(slots[lists[lists >= 0]] // capacity, minlength=len(counts))
        if residency is not None:
            residency.check()
    return counts


@dataclass(frozen=True, slots=True)
class _Query:
    """A row, what it chooses from, and what it should find."""

    vector: Floats
    near: Int64s
    """Slots of the vectors of the groups around it, without its own."""
    wanted: Int64s
    """Pages of the nearest of them."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """The vectors, slot by slot, as residuals to their groups' centroids."""

    navigation: Navigation
    order: npt.NDArray[np.int32]
    coded: Floats
    group_slots: int
    capacity: int
    metric: Metric
    pace: Pace

    def residuals(self, slots: Int64s) -> Floats:
        """Float32 (slots, dim)."""
        taken = take_rows(self.navigation, self.order[slots], self.pace)
        taken -= self.coded[slots // self.group_slots]
        return taken

    def query(self, slot: int, squares: Floats, candidates: int) -> _Query:
        """The row in ``slot`` as a query; ``squares`` of the centroids."""
        vector = take_rows(self.navigation, self.order[slot : slot + 1], self.pace)[0]
        if self.metric is Metric.IP:
            vector -= np.float32(self.navigation.shift)
        scores = self.coded @ (-2 * vector)
        if self.metric is not Metric.IP:
            scores += squares
        # the last group may be short, and hold nothing but the query: never that one alone
        count = min(len(self.coded), 2 + candidates // self.group_slots)
        groups = np.sort(np.argpartition(scores, count - 1)[:count])
        near = (groups[:, None] * self.group_slots + np.arange(self.group_slots)).ravel()
        near = near[(near < len(self.order)) & (near != slot)]
        exact = _scores(vector, self.coded[near // self.group_slots] + self.residuals(near), self.metric)
        best = near[np.argsort(exact, kind="stable")[:_K]]
        return _Query(vector, near, best // self.capacity)

    def reads(self, query: _Query, coder: Coder, weight: float, pinned: npt.NDArray[np.bool_]) -> Int64s:
        """Reads that find each of the nearest of ``query``."""
        centres = self.coded[query.near // self.group_slots]
        residuals = self.residuals(query.near)
        estimates = _estimates(query.vector, centres, residuals, coder, weight, self.metric)
        return _reads(estimates, query.near // self.capacity, query.wanted, pinned)


def choice_costs(
    navigation: Navigation,
    arrangement: Arrangement,
    coded: Floats,
    neighbours: npt.NDArray[np.int32],
    choices: Sequence[CodeChoice],
    metric: Metric,
    *,
    rotate: bool,
    seed: int,
    threads: int,
    residency: Residency,
) -> list[float]:
    """Microseconds of a query with each of ``choices``, which differ in their codes alone.

    Counted, not timed: reads until most of the nearest of a sample of rows are found among the vectors of the
    groups around them, at what a read costs, without those of pinned pages; and scores at what those cost.
    Codes are trained on a small sample of the rows; ``coded`` float32 (groups, dim) are the groups'
    centroids, ``neighbours`` int32 (rows, any) lists of near vectors. Infinite for choices whose scores alone
    cost more than another.
    """
    shape, order, dim = choices[0].shape, arrangement.order, navigation.array.shape[1]
    rows = len(order)
    rng = np.random.default_rng(seed)
    trained = min(rows, max(_LEAST_TRAINED, _TRAINED_ELEMENTS // dim))
    residency.make_room(2 * 4 * trained * dim + coded.nbytes + 8 * rows)
    sample = np.sort(rng.choice(rows, trained, replace=False))
    slots = np.sort(rng.choice(rows, min(rows, _QUERIES), replace=False))
    pace = Pace(residency, _COUNTED_BLOCK_ROWS)
    capacity = choices[0].capacity
    vectors = _Slice(navigation, order, coded, shape.group_slots, capacity, metric, pace)
    sample_residuals = vectors.residuals(sample)
    squares = np.einsum("ij,ij->i", coded, coded)
    candidates = min(_CANDIDATES, max(_LEAST_CANDIDATES, _CANDIDATE_ELEMENTS // dim))
    queries: list[_Query | None] = [None] * len(slots)

    def prepare(number: int) -> None:
        queries[number] = vectors.query(int(slots[number]), squares, candidates)

    run_pieces(prepare, range(len(slots)), threads)
    # those that a search asks for most are pinned; under ip the builder takes the longest vectors for them
    hottest = np.argsort(-times_near(neighbours, order, capacity, residency), kind="stable")
    costs: list[float] = []
    for choice in choices:
        family, width = choice.shape.code_family, choice.shape.code_bytes[0]
        scan_cost = _scan_cost_us(family, width, rows)
        if scan_cost >= min(costs, default=np.inf):
            costs.append(np.inf)
            continue
        coder = train_coder(family, sample_residuals, width, rotate=rotate, seed=seed, threads=threads)
        weight = error_weight(choice.shape, "codes", width, dim)
        pinned = np.zeros(len(hottest), np.bool_)
        pinned[hottest[: round(choice.pinned_share * len(hottest))]] = True
        reads: list[Int64s] = [slots] * len(slots)

        def rank(
            number: int,
            coder: Coder = coder,
            weight: float = weight,
            pinned: npt.NDArray[np.bool_] = pinned,
            reads: list[Int64s] = reads,
        ) -> None:
            query = queries[number]
            assert query is not None
            reads[number] = vectors.reads(query, coder, weight, pinned)

        run_pieces(rank, range(len(slots)), threads)
        found = np.concatenate(reads)
        usual = sum(reads_to_reach(recall, found) for recall in _RECALLS) / len(_RECALLS)
        costs.append(usual * _READ_COST_US + scan_cost)
    return costs


def _scores(query: Floats, vectors: Floats, metric: Metric) -> Floats:
    if metric is Metric.IP:
        return np.asarray(-2 * vectors @ query)
    return np.asarray(np.square(vectors - query).sum(axis=1))


def _estimates(
    query: Floats, centres: Floats, residuals: Floats, coder: Coder, weight: float, metric: Metric
) -> Floats:
    """What codes tell of vectors, as in :mod:`.coding`."""
    decoded = coder.decode(coder.encode(residuals))
    estimates = _scores(query, centres + decoded, metric)
    if metric is Metric.IP:
        return estimates
    return np.asarray(estimates - weight * np.square(residuals - decoded).sum(axis=1))
