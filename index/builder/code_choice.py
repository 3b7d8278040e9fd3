"""Which codes order the data at hand best for what they cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pageann.index.builder.arrange import Arrangement
from pageann.index.builder.coders import train_coder
from pageann.index.builder.coding import error_weight
from pageann.index.builder.fitting import CodeChoice
from pageann.index.builder.navigation import Navigation
from pageann.index.builder.parallel import run_pieces
from pageann.index.builder.quantizer import Coder
from pageann.index.builder.residency import Residency
from pageann.index.code_families import Family
from pageann.index.kernels.state import KIND_BYTES, KIND_FACTORED
from pageann.types import Metric

__all__ = ["LEAST_MEASURED_ROWS", "choice_costs", "page_heat", "reads_to_reach"]

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
_HEAT_ROWS = 1_000_000
_HEAT_BLOCK_ROWS = 65_536


def _scan_cost_us(family: Family, code_bytes: int) -> float:
    """Of one query."""
    if family.kind == KIND_BYTES:
        each = _WIDE_BYTE_COST_US * code_bytes
    else:
        each = _BYTE_COST_US * code_bytes + (_FACTOR_COST_US if family.kind == KIND_FACTORED else 0.0)
    return _SCANNED * each


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


def page_heat(neighbours: npt.NDArray[np.int32], order: npt.NDArray[np.int32], capacity: int) -> Int64s:
    """How often a vector of each page is among the nearest of others: those most often are pinned first."""
    slots = np.empty(len(order), np.int64)
    slots[order] = np.arange(len(order))
    heat = np.zeros(-(-len(order) // capacity), np.int64)
    step = max(1, len(neighbours) // _HEAT_ROWS)
    for first in range(0, len(neighbours), step * _HEAT_BLOCK_ROWS):
        lists = neighbours[first : first + step * _HEAT_BLOCK_ROWS : step, :_K]
        heat += np.bincount(slots[lists[lists >= 0]] // capacity, minlength=len(heat))
    return heat


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
    shape, rows, dim = choices[0].shape, len(arrangement.order), navigation.array.shape[1]
    rng = np.random.default_rng(seed)
    trained = min(rows, max(_LEAST_TRAINED, _TRAINED_ELEMENTS // dim))
    residency.make_room(2 * 4 * trained * dim)
    sample = np.sort(rng.choice(rows, trained, replace=False))
    slots = np.sort(rng.choice(rows, min(rows, _QUERIES), replace=False))

    def residuals(places: Int64s) -> Floats:
        taken = navigation.take(arrangement.order[places])
        taken -= coded[places // shape.group_slots]
        return taken

    sample_residuals = residuals(sample)
    squares = np.einsum("ij,ij->i", coded, coded)
    hottest = np.argsort(-page_heat(neighbours, arrangement.order, shape.capacity), kind="stable")
    residency.check()
    candidates = min(_CANDIDATES, max(_LEAST_CANDIDATES, _CANDIDATE_ELEMENTS // dim))
    costs: list[float] = []
    for choice in choices:
        family, width = choice.shape.code_family, choice.shape.code_bytes[0]
        scan_cost = _scan_cost_us(family, width)
        if scan_cost >= min(costs, default=np.inf):
            costs.append(np.inf)
            continue
        coder = train_coder(family, sample_residuals, width, rotate=rotate, seed=seed, threads=threads)
        weight = error_weight(choice.shape, "codes", width, dim)
        reads = np.empty((len(slots), min(_K, rows - 1)), np.int64)
        pinned = np.zeros(len(hottest), np.bool_)
        pinned[hottest[: round(choice.pinned_share * len(hottest))]] = True

        def rank(
            number: int,
            coder: Coder = coder,
            weight: float = weight,
            reads: Int64s = reads,
            pinned: npt.NDArray[np.bool_] = pinned,
        ) -> None:
            slot = int(slots[number])
            query = navigation.take(arrangement.order[slot : slot + 1])[0]
            if metric is Metric.IP:
                query -= np.float32(navigation.shift)
            known = -2 * coded @ query + (0 if metric is Metric.IP else squares)
            count = min(len(coded), 1 + candidates // shape.group_slots)
            groups = np.sort(np.argpartition(known, count - 1)[:count])
            near = (groups[:, None] * shape.group_slots + np.arange(shape.group_slots)).ravel()
            near = near[(near < rows) & (near != slot)]
            missing = residuals(near)
            centres = coded[near // shape.group_slots]
            exact = _scores(query, centres + missing, metric)
            pages = near // shape.capacity
            best = np.argsort(exact, kind="stable")[: reads.shape[1]]
            estimates = _estimates(query, centres, missing, coder, weight, metric)
            reads[number] = _reads(estimates, pages, pages[best], pinned)

        run_pieces(rank, range(len(slots)), threads)
        usual = sum(reads_to_reach(recall, reads) for recall in _RECALLS) / len(_RECALLS)
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
