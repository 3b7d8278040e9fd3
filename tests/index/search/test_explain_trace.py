"""A search that is explained is another search than the one that was meant.

Guarded: steps, an answer or counts that differ from the engine's; a page without a reason, or with one
that its candidates contradict; estimates that the kernels would not have made.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pageann.errors import DamagedIndex
from pageann.explanation import PageOrigin
from pageann.index.code_families import Family
from pageann.index.kernels import state
from pageann.index.search.engine import Engine
from pageann.index.search.explain_steps import SteppedSearch
from pageann.index.search.explain_trace import Trace, trace_search
from pageann.index.search.load import LoadedSegment, Residence
from pageann.types import Metric
from tests.index.search.engines import COUNTED, KINDS, Kind, Sample, build_sample

MIXED = Kind(
    16, "uint8", Metric.L2, Residence(3, 0, False),
    {"capacity": 16, "code_bytes": (3,), "rep_bytes": 8, "rep_capacity": 60, "link_capacity": 4},
)  # fmt: skip
"""Coarse codes in memory, and finer ones of neighbours on the pages."""
NAMES = (*KINDS, "mixed")
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"effort": 12, "walk_pages": 9},
    {"effort": 5, "k": 20, "next_width": 2},
    {"max_reads": 3},
)
ORIGINS = {
    "codes": {PageOrigin.CODE, PageOrigin.SHORTFALL},
    "pinned": {PageOrigin.CODE, PageOrigin.SHORTFALL},
    "copies": {PageOrigin.CODE, PageOrigin.SHORTFALL},
    "copies-pinned": {PageOrigin.CODE, PageOrigin.SHORTFALL},
    "walk": {PageOrigin.ROUTER, PageOrigin.REPRESENTATIVE},
    "walk-inner-product": {PageOrigin.ROUTER, PageOrigin.REPRESENTATIVE},
    "grouped": {PageOrigin.ROUTER},
    "two-steps": {PageOrigin.CODE, PageOrigin.RECORD},
    "direct": {PageOrigin.CODE, PageOrigin.SHORTFALL},
    "mixed": {PageOrigin.CODE, PageOrigin.REPRESENTATIVE, PageOrigin.SHORTFALL},
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    KINDS["mixed"] = MIXED
    try:
        yield build_sample("mixed", tmp_path_factory.mktemp("mixed"))
    finally:
        del KINDS["mixed"]


@pytest.fixture(params=NAMES)
def sample(request: pytest.FixtureRequest, sample_of: Callable[[str], Sample], mixed: Sample) -> Sample:
    """Every kind of segment in turn."""
    return mixed if request.param == "mixed" else sample_of(request.param)


@pytest.fixture
def opened(sample: Sample) -> Iterator[LoadedSegment]:
    """The sample, open."""
    segment = sample.load()
    yield segment
    segment.close()


def traces(sample: Sample, segment: LoadedSegment, **changes: Any) -> Iterator[Trace]:
    with SteppedSearch(segment, sample.options(**changes)) as search:
        for query in sample.asked:
            yield trace_search(search, query)


def rounding(trace: Trace) -> float:
    """What sums of float32 in another order may differ by."""
    return 1e-5 * float(np.abs(trace.group_scores).max())


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_the_answer_and_the_counts_are_those_of_the_engine(
    sample: Sample, opened: LoadedSegment, changes: dict[str, Any]
) -> None:
    engine = Engine(opened, "threads", workers=1, slots=4)
    try:
        answers = engine.run(sample.asked, sample.options(**changes))
    finally:
        engine.close()
    for number, trace in enumerate(traces(sample, opened, **changes)):
        count = answers.counts[number]
        np.testing.assert_array_equal(trace.rows, answers.rows[number, :count])
        np.testing.assert_array_equal(trace.distances, answers.distances[number, :count])
        np.testing.assert_array_equal(trace.counters[list(COUNTED)], answers.counters[number, COUNTED])


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_every_page_has_a_reason_and_every_row_of_the_answer_a_page(
    sample: Sample, opened: LoadedSegment, changes: dict[str, Any]
) -> None:
    seen: set[PageOrigin] = set()
    for trace in traces(sample, opened, **changes):
        pages = [page for each in trace.rounds for page in each.pages]
        read = sum(not page.pinned for page in pages)
        assert read == trace.counters[state.N_READS] == (trace.rounds[-1].reads if trace.rounds else 0)
        assert len(pages) - read == trace.counters[state.N_PINNED]
        for page in pages:
            seen.add(page.origin)
            assert page.rank >= 1
            assert (page.told_by is not None) == (page.origin is PageOrigin.REPRESENTATIVE)
        brought = np.concatenate([page.brought for page in pages])
        assert np.isin(trace.rows, brought).all()
    assert seen <= ORIGINS[sample.name]
    if not changes:
        assert ORIGINS[sample.name] - {PageOrigin.SHORTFALL} <= seen


def test_a_page_was_told_of_by_one_that_was_read_before(mixed: Sample) -> None:
    segment = mixed.load()
    told = 0
    for trace in traces(mixed, segment):
        before: set[int] = set()
        for each in trace.rounds:
            for page in each.pages:
                if page.told_by is not None:
                    told += 1
                    assert page.told_by in before
            before |= {page.page for page in each.pages}
    segment.close()
    assert told > 0


def test_pages_were_asked_for_by_candidates_within_the_limit(sample: Sample, opened: LoadedSegment) -> None:
    checked = 0
    for trace in traces(sample, opened, effort=20, first_width=2, next_width=2):
        for each in trace.rounds:
            for page in each.pages:
                if each.limit_before is not None and page.origin not in (
                    PageOrigin.SHORTFALL,
                    PageOrigin.RECORD,
                ):
                    checked += 1
                    assert trace.estimates.distance(page.score) <= each.limit_before + 1e-6
    assert checked > 0


def test_estimates_are_those_of_the_kernels(sample: Sample, opened: LoadedSegment) -> None:
    capacity = int(opened.resident.parameters[state.P_GROUP_SLOTS])
    checked = 0
    with SteppedSearch(opened, sample.options()) as search:
        for query in sample.asked:
            trace = trace_search(search, query)
            count = int(trace.counters[state.N_FRONTIER])
            ranks = trace.group_ranks[trace.frontier[:count]]
            assert (np.diff(ranks) > 0).mean() > 0.9, "the frontier ascends but for rounding"
            search.start(query)
            pool = int(search.counters[state.N_POOL])
            for slot, score in zip(
                search.work.pool_slots[0, :pool].tolist(), search.work.pool_scores[0, :pool], strict=True
            ):
                group = slot // capacity
                made = trace.estimates.members(group, float(trace.group_scores[group]))
                checked += 1
                assert abs(made[slot - group * capacity] - score) <= rounding(trace)
    assert checked > 0 or opened.resident.parameters[state.P_CODE_BYTES] == 0


@pytest.mark.parametrize(("family", "width"), [(Family.PQ8, 6), (Family.RABITQ, 7), (Family.SQ8, 16)])
def test_estimates_of_other_families_are_those_of_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Family, width: int
) -> None:
    shape = {"capacity": 16, "code_bytes": (width,), "code_family": family}
    kind = Kind(16, "uint8", Metric.L2, Residence(width, 0, False), shape)
    monkeypatch.setitem(KINDS, str(family), kind)
    sample = build_sample(str(family), tmp_path)
    segment = sample.load()
    try:
        assert segment.resident.parameters[state.P_CODE_KIND] == family.kind
        test_estimates_are_those_of_the_kernels(sample, segment)
    finally:
        segment.close()


def test_estimates_from_pages_are_those_of_the_kernels(
    mixed: Sample, sample_of: Callable[[str], Sample]
) -> None:
    for sample in (mixed, sample_of("walk"), sample_of("walk-inner-product")):
        segment = sample.load()
        checked = 0
        for trace in traces(sample, segment):
            for slot, kind, score in trace.pool:
                if kind == state.REFINED:
                    checked += 1
                    assert abs(trace.told[slot].score - score) <= rounding(trace)
            for each in trace.rounds:
                for page in each.pages:
                    checked += page.told_by is not None
        segment.close()
        assert checked > 0


def test_a_damaged_page_is_named(sample_of: Callable[[str], Sample], tmp_path: Path) -> None:
    sample = sample_of("walk")
    folder = Path(shutil.copytree(sample.small.folder, tmp_path / "copy"))
    data = bytearray((folder / "pages.bin").read_bytes())
    damaged: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(-1, 4096)
    damaged[1:, 50] ^= 1
    (folder / "pages.bin").write_bytes(data)
    segment = sample.load(folder)
    with (
        SteppedSearch(segment, sample.options()) as search,
        pytest.raises(DamagedIndex, match=r"pages\.bin: page"),
    ):
        trace_search(search, sample.asked[0])
    segment.close()
