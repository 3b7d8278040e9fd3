"""What codes of each family stand for, what they take, and which of them a build chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pageann.datasets.synthetic import clustered
from pageann.index.builder import code_choice
from pageann.index.builder.arrange import Arrangement
from pageann.index.builder.calibration import roomiest_tunings
from pageann.index.builder.code_choice import choice_costs, reads_to_reach, times_near
from pageann.index.builder.coders import train_coder
from pageann.index.builder.disk_room import DiskRoom, index_bytes, most_id_bytes
from pageann.index.builder.fitting import CodeChoice, _entry_of, code_choices, fitted_plan, opening_plan
from pageann.index.builder.grid import GridCoder, train_grid
from pageann.index.builder.layout import Plan
from pageann.index.builder.navigation import navigation_view
from pageann.index.builder.parallel import one_blas_thread
from pageann.index.builder.residency import Residency
from pageann.index.code_families import Family, grid_planes
from pageann.index.search.planner import plan_open
from pageann.types import Metric
from tests.reference.segment_reader import read_segment
from tests.reference.small_segment import build_small, small_shape
from tests.reference.vector_sets import SEEDS, continuous

FAMILIES = list(Family)
NEIGHBOURS = np.random.default_rng(4).integers(0, 3000, (3000, 12)).astype(np.int32)
"""Of nobody in particular: all pages are equally hot."""


def skewed(seed: int, rows: int, dim: int) -> NDArray[np.float32]:
    """Elements of different sizes, about a mean of 1."""
    return np.asarray(continuous(seed, rows, dim) * np.linspace(0.5, 3, dim) + 1, np.float32)


def width_of(family: Family, dim: int) -> int:
    return {Family.PQ4: dim // 4, Family.PQ8: dim // 4, Family.RABITQ: dim // 4 + 2}.get(family, dim)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 400), st.sampled_from(FAMILIES), st.booleans())
def test_codes_take_what_is_foretold(dim: int, width: int, family: Family, rotate: bool) -> None:
    foretold = family.code_bytes(width, dim)
    assert foretold <= width
    if not foretold:
        assert family in (Family.RABITQ, Family.SQ8)
        return
    assert family.code_bytes(foretold, dim) == foretold, "and asking for as much gives as much"
    if family is Family.PQ8 and dim > 40:
        return  # 256 words a part take their time
    coder = train_coder(family, continuous(1, 40, dim), width, rotate=rotate and dim < 100, seed=0)
    assert coder.code_bytes == foretold
    arrays = coder.arrays()
    assert arrays["starts"].nbytes + arrays["words"].nbytes == family.maker_bytes(width, dim)
    assert family.has_bounds(arrays["starts"].tolist(), dim)
    assert not family.has_bounds([*arrays["starts"].tolist()[:-1], 1000], dim)
    assert len(arrays["words"]) == family.words * arrays["starts"][-1]
    assert coder.encode(continuous(2, 3, dim)).shape == (3, foretold)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 30), st.integers(1, 8), st.booleans())
def test_words_add_up_to_what_codes_stand_for(seed: int, dim: int, bits: int, sq8: bool) -> None:
    """So a search that looks words up and a build that takes codes apart mean the same."""
    sample = skewed(seed, 50, dim)
    family = Family.SQ8 if sq8 else Family.RABITQ
    width = dim if sq8 else next(w for w in range(1, dim + 3) if family.bits(w, dim) >= bits)
    coder = train_grid(sample, family, width, rotate=False, seed=seed)
    assert coder.bits == (8 if sq8 else family.bits(width, dim))
    rows = skewed(seed + 1, 20, dim)
    codes = coder.encode(rows)
    arrays = coder.arrays()
    numbers = np.stack([codes & 15, codes >> 4], axis=2).reshape(20, -1)
    total = np.zeros((20, dim))
    for part in range(len(arrays["starts"]) - 1):
        first, last = arrays["starts"][part : part + 2].tolist()
        words = arrays["words"][16 * first : 16 * last].reshape(16, -1)
        total[:, first % dim : first % dim + last - first] += words[numbers[:, part]]
    if coder.factored:
        total *= (coder.factor_low + coder.factor_step * codes[:, -1].astype(np.float64))[:, None]
    assert coder.decode(codes) == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_scalar_codes_are_within_half_a_step() -> None:
    sample = skewed(3, 2000, 9)
    coder = train_grid(sample, Family.SQ8, 9, rotate=False, seed=0)
    missed = np.abs(sample - coder.decode(coder.encode(sample)))
    inside = missed <= 0.501 * coder.step + 1e-6
    assert inside.mean() > 0.999, "all but the few that are clipped"
    assert (coder.step < 6 * sample.std(axis=0) / 128).all()


def test_elements_that_never_differ_have_a_code() -> None:
    sample = np.ones((50, 4), np.float32)
    for family in (Family.SQ8, Family.RABITQ):
        coder = train_grid(sample, family, family.code_bytes(6, 4), rotate=False, seed=0)
        assert coder.decode(coder.encode(sample)) == pytest.approx(sample, abs=0.02)


def test_estimated_products_are_right_on_average() -> None:
    """Of the same vectors, turned by many rotations: what RaBitQ is for."""
    rows, query = skewed(5, 4, 32), skewed(6, 1, 32)[0]
    true = rows @ query
    found = []
    for seed in range(300):
        coder = train_grid(rows, Family.RABITQ, 6, rotate=True, seed=seed)
        assert isinstance(coder, GridCoder)
        assert coder.bits == 1
        found.append(coder.decode(coder.encode(rows)) @ query)
    spread = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - true) < 4.5 * spread + 0.01 * np.abs(true)).all()


def test_pieces_of_numbers() -> None:
    assert [list(grid_planes(bits)) for bits in (1, 3, 7, 8)] == [
        [(1, 0)],
        [(2, 1), (1, 0)],
        [(4, 3), (2, 1), (1, 0)],
        [(4, 4), (4, 0)],
    ]


def test_reads_that_find_a_share() -> None:
    reads = np.array([[1, 1, 2, 4], [1, 3, 3, 6]])
    assert reads_to_reach(3 / 8, reads) == 1
    assert reads_to_reach(5 / 8, reads) == pytest.approx(2.5)
    assert reads_to_reach(1.0, reads) == 6
    assert reads_to_reach(0.97, np.zeros((3, 4), np.int64)) == 0, "all of it pinned"


def test_pages_that_many_are_near_to_are_hot() -> None:
    neighbours = np.array([[1, 2], [2, -1], [5, 1], [2, 4], [0, 2], [2, 3]], np.int32)
    order = np.array([2, 3, 0, 1, 5, 4], np.int32)
    assert times_near(neighbours, order, 2).tolist() == [6, 3, 2]


def choices_for(
    rows: int, dim: int, dtype: str, memory: float, disk: DiskRoom | None = None
) -> tuple[Plan, int, tuple[CodeChoice, ...]]:
    given = rows, dim, np.dtype(dtype), Metric.L2
    memory_bytes = int(memory * rows * dim * given[2].itemsize)
    plan = fitted_plan(*given, memory_bytes, None, disk)
    return plan, memory_bytes, code_choices(*given, plan, memory_bytes, disk)


@pytest.mark.parametrize("disk", [0.0, 2.6])
def test_all_that_is_to_be_chosen_from_fits(disk: float) -> None:
    rows, dim = 1_000_000, 128
    room = DiskRoom(int(disk * rows * dim), most_id_bytes(None, rows)) if disk else None
    plan, memory_bytes, choices = choices_for(rows, dim, "uint8", 0.6, room)
    offered = [(choice.shape.code_family, choice.shape.code_bytes[0]) for choice in choices]
    assert offered[0] == (Family.PQ4, plan.shape.code_bytes[0])
    assert len(set(offered)) == len(offered)
    words_fit = {Family.PQ8} if not disk else set()  # those of three widths are 0.4 MB of the allowance
    assert {Family.PQ4, Family.RABITQ} | words_fit == {family for family, _ in offered}
    for choice in choices:
        mine = replace(plan, shape=choice.shape)
        opened = opening_plan(rows, dim, np.dtype(np.uint8), Metric.L2, mine, memory_bytes)
        assert opened.residence.code_bytes == choice.shape.code_bytes[0]
        assert opened.residence.pinned_pages == round(choice.pinned_share * choice.shape.page_count(rows))
        assert opened.ledger.total <= memory_bytes
        if room is not None:
            assert choice.shape.copy_pages == plan.shape.copy_pages > 0
            assert index_bytes(choice.shape, rows, dim, plan.rotate, room.id_bytes) <= room.bytes
    narrower = [choice.pinned_share for choice in choices if choice.shape.code_family is Family.PQ4]
    assert len(narrower) == (1 if disk else 3), "what copies cost was planned with the codes"
    assert narrower == sorted(narrower)


@pytest.mark.parametrize("memory", [0.195, 0.219, 0.242, 0.29])
def test_what_fits_does_so_however_an_index_is_tuned(memory: float) -> None:
    """Tables of 256 words a part take much of a small budget, and so do the widest scans."""
    rows, dim = 11_303, 48
    plan, memory_bytes, choices = choices_for(rows, dim, "float16", memory)
    assert len(choices) > 1
    for choice in choices:
        mine = replace(plan, shape=choice.shape)
        entry = _entry_of(rows, dim, np.dtype(np.float16), Metric.L2, mine)
        opened = plan_open(entry, memory_bytes, 2, roomiest_tunings(choice.shape, rows))
        assert opened.residence.code_bytes == choice.shape.code_bytes[0]


def test_walks_are_spared_codes_that_are_dear_to_score() -> None:
    plan, _, choices = choices_for(1_000_000, 128, "uint8", 0.1)
    assert plan.shape.rep_capacity
    assert Family.PQ8 not in {choice.shape.code_family for choice in choices}


@pytest.mark.parametrize(
    ("rows", "dim", "dtype", "memory"),
    [(6000, 768, "float32", 0.02), (6000, 768, "float32", 0.07), (20_000, 96, "uint8", 3.0)],
)
def test_where_there_is_nothing_to_choose(rows: int, dim: int, dtype: str, memory: float) -> None:
    """Quantised pages, which are read where codes are not fine enough; all pages in memory."""
    plan, _, choices = choices_for(rows, dim, dtype, memory)
    assert [choice.shape for choice in choices] == [plan.shape]


@pytest.mark.parametrize(("memory", "rabitq"), [(0.0867, False), (0.09, True), (0.12, True), (0.3, True)])
def test_codes_that_vectors_are_read_directly_with_are_compared_with_such(
    memory: float, rabitq: bool
) -> None:
    """Two bits of RaBitQ are a byte more than of words: where that byte is wanting, one bit has to do."""
    rows, dim = 6000, 768
    plan, memory_bytes, choices = choices_for(rows, dim, "float32", memory)
    assert choices[0].shape == plan.shape
    assert (Family.RABITQ in {choice.shape.code_family for choice in choices}) == rabitq
    for choice in choices:
        mine = replace(plan, shape=choice.shape)
        opened = opening_plan(rows, dim, np.dtype(np.float32), Metric.L2, mine, memory_bytes)
        assert opened.residence.direct_records
        assert (choice.capacity, choice.pinned_share) == (plan.shape.exact_capacity, 0)


def test_what_a_direct_read_brings_counts(arranged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_choice, "_SCANNED", 0)
    shape = {"exact_capacity": 1, "quantised": True}
    least = 0.98 * 10 * code_choice._READ_COST_US
    one_a_read = costs(arranged, (Family.SQ8, 64), direct=True, **shape)[Family.SQ8]
    assert costs(arranged, (Family.SQ8, 64), **shape)[Family.SQ8] < least <= one_a_read


@pytest.fixture(scope="module")
def arranged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Arrangement, NDArray[np.float32]]:
    """3,000 vectors of 64 elements in groups of 20, and their centroids."""
    base, _ = clustered(3000, 64, dtype="float32", queries=1, clusters=150, intrinsic_dim=20, seed=2)
    navigation = navigation_view(base, Metric.L2, tmp_path_factory.mktemp("scratch"))
    order = np.argsort(base[:, 0] * 1e-6 + np.arange(3000) // 20, kind="stable").astype(np.int32)
    centroids = base[order].reshape(150, 20, 64).mean(axis=1)
    return navigation, Arrangement(order, centroids, 0.0), centroids


def costs(arranged: Any, *chosen: tuple[Family, int], **changes: Any) -> dict[Family, float]:
    navigation, arrangement, centroids = arranged
    pinned, direct = changes.pop("pinned", 0.0), changes.pop("direct", False)
    exact = {name: changes.pop(name) for name in ("exact_capacity", "quantised") if name in changes}
    choices = [
        CodeChoice(
            small_shape(64, capacity=20, code_bytes=(width,), code_family=family, **exact), pinned, direct
        )
        for family, width in chosen
    ]
    options = {"rotate": True, "seed": 0, "threads": 1, **changes}
    with one_blas_thread():
        found = choice_costs(
            navigation,
            arrangement,
            centroids,
            NEIGHBOURS,
            choices,
            Metric.L2,
            residency=Residency(1 << 30),
            **options,
        )
    return {family: cost for (family, _), cost in zip(chosen, found, strict=True)}


def test_finer_codes_cost_fewer_reads(arranged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_choice, "_SCANNED", 0)
    sq8 = costs(arranged, (Family.SQ8, 64))[Family.SQ8]
    for family, coarse, fine in ((Family.PQ4, 4, 16), (Family.PQ8, 4, 16), (Family.RABITQ, 9, 25)):
        assert (
            sq8 < 1.02 * costs(arranged, (family, fine))[family] < costs(arranged, (family, coarse))[family]
        )


def test_what_scores_take_counts(arranged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ((Family.PQ4, 16), (Family.PQ8, 16))
    dear = costs(arranged, *both)
    monkeypatch.setattr(code_choice, "_SCANNED", 0)
    free = costs(arranged, *both)
    assert dear[Family.PQ4] - free[Family.PQ4] == pytest.approx(3000 * 0.0016)
    assert dear[Family.PQ8] - free[Family.PQ8] == pytest.approx(3000 * 16 * 0.0005)


def test_codes_that_are_too_dear_to_score_are_not_tried(
    arranged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, dear = (Family.SQ8, 64), (Family.PQ8, 64)
    alone = costs(arranged, dear)[Family.PQ8]
    assert np.isfinite(alone)
    monkeypatch.setattr(code_choice, "_WIDE_BYTE_COST_US", 1.0)
    assert np.isinf(costs(arranged, fine, dear)[Family.PQ8])


def test_a_last_group_of_one_vector_is_not_all_that_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own row would find nothing there."""
    base = np.concatenate([np.zeros((1200, 2)), np.full((1, 2), 900)]).astype(np.float32)
    base[:1200] += continuous(2, 1200, 2)
    navigation = navigation_view(base, Metric.L2, tmp_path)
    order = np.arange(1201, dtype=np.int32)
    centroids = np.array([[0, 0], [900, 900]], np.float32)
    choice = CodeChoice(small_shape(2, capacity=1200, code_bytes=(1,)), 0.0)
    looked_at: list[int] = []
    monkeypatch.setattr(code_choice, "_QUERIES", 1201)
    monkeypatch.setattr(code_choice, "reads_to_reach", lambda _, reads: looked_at.append(len(reads)) or 1.0)
    found = choice_costs(
        navigation, Arrangement(order, centroids, 0.0), centroids, NEIGHBOURS[:1201] % 1201, [choice],
        Metric.L2, rotate=False, seed=0, threads=1, residency=Residency(1 << 30),
    )  # fmt: skip
    assert np.isfinite(found[0])
    assert looked_at[0] == 1201 * 10, "each has its ten"


def test_reads_of_pinned_pages_cost_nothing(arranged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_choice, "_SCANNED", 0)
    none, half, whole = (costs(arranged, (Family.PQ4, 8), pinned=p)[Family.PQ4] for p in (0.0, 0.5, 1.0))
    assert 0 < half < 0.8 * none
    assert whole == 0


def test_threads_and_companions_change_no_cost(arranged: Any) -> None:
    alone = costs(arranged, (Family.RABITQ, 17))
    among = costs(arranged, (Family.PQ4, 16), (Family.RABITQ, 17), threads=2)
    assert among[Family.RABITQ] == alone[Family.RABITQ]


@pytest.mark.parametrize("family", [Family.PQ4, Family.PQ8])
def test_codes_on_pages_may_be_as_wide_as_those_in_memory(tmp_path: Path, family: Family) -> None:
    """And are of four bits a part, whatever those are."""
    vectors, queries = clustered(900, 12, dtype="float32", queries=5, seed=8, clusters=30)
    shape = small_shape(
        12, code_bytes=(5,), rep_bytes=5, rep_capacity=30, link_capacity=3, code_family=family
    )
    small = build_small(tmp_path / "s", vectors, Metric.L2, shape)
    files = {path.name: path.read_bytes() for path in small.folder.iterdir() if path.suffix == ".bin"}
    read = read_segment(small.entry.to_json(), files)
    assert read.reps is not None
    assert len(read.reps.quantiser.words[0]) == 16
    assert len(read.codes[5].quantiser.words[0]) == (16 if family is Family.PQ4 else 256)
    true = np.square(vectors[read.rows_of_slots()] - queries[0]).sum(axis=1)
    assert np.corrcoef(read.estimates(queries[0], 5), true)[0, 1] > 0.95
    page = read.pages.pages[7]
    assert np.corrcoef(read.estimates_of_representatives(queries[0], page), true[page.slots])[0, 1] > 0.9


@pytest.mark.parametrize("metric", [Metric.IP, Metric.COSINE])
def test_other_metrics(tmp_path: Path, metric: Metric) -> None:
    base, _ = clustered(400, 16, dtype="int8", queries=1, clusters=20, seed=3)
    navigation = navigation_view(base, metric, tmp_path)
    order = np.arange(400, dtype=np.int32)
    centroids = navigation.take(order).reshape(40, 10, 16).mean(axis=1)
    choices = [
        CodeChoice(small_shape(16, capacity=10, code_bytes=(width,), code_family=family), 0.0)
        for family, width in ((Family.PQ4, 2), (Family.SQ8, 16))
    ]
    coarse, fine = choice_costs(
        navigation, Arrangement(order, centroids, 0.0), centroids, NEIGHBOURS[:400] % 400, choices, metric,
        rotate=True, seed=0, threads=1, residency=Residency(1 << 30),
    )  # fmt: skip
    assert fine < coarse
