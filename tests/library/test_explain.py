"""An explanation tells of the search that ``search`` makes, and gives reasons that hold."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pageann
from pageann.explanation import Explanation, MissReason, TrueNeighbour
from tests.library.brute import all_distances, measured, ranked
from tests.library.samples import CODES, METRICS, Kind, Sample, Samples

TIGHT: dict[str, Any] = {"k": 10, "effort": 3}
"""Settings that miss some."""


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"k": 3, "recall": 0.8},
    {"k": 25, "effort": 40},
    {"k": 10, "max_page_reads": 2},
    TIGHT,
)


@pytest.mark.parametrize("metric", METRICS)
def test_the_answer_is_that_of_search(layout: Sample, metric: str, samples: Samples) -> None:
    sample = samples(replace(layout.kind, metric=metric))
    with sample.open() as index:
        for options in SETTINGS:
            for query in sample.queries[:4]:
                told = index.explain(query, **options)
                result = index.search(query, **options)
                stats = measured(result)
                count = int(result.counts[0])
                assert told.ids == tuple(result.ids[0, :count].tolist())
                assert told.distances == tuple(result.distances[0, :count].tolist())
                assert told.stopped == stats.stopped[0]
                for name in ("reads", "kib", "units", "hops", "codes_scored", "pinned_hits"):
                    assert getattr(told.cost, name) == getattr(stats, name)[0], name
                assert told.effort == stats.effort[0]
                assert told.warnings == stats.warnings


@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_is_that_of_every_distance(layout: Sample, metric: str, samples: Samples) -> None:
    sample = samples(replace(layout.kind, metric=metric))
    every = all_distances(sample.base, sample.queries, metric)
    with sample.open() as index:
        for number, query in enumerate(sample.queries[:6]):
            told = index.explain(query, **TIGHT)
            assert told.truth is not None
            nearest = np.sort(every[number])[:10]
            np.testing.assert_allclose([each.distance for each in told.truth], nearest, rtol=1e-9, atol=1e-9)
            found = every[number, list(told.ids)] <= nearest[-1] * (1 + 1e-6) + 1e-12
            if metric != "ip":
                assert told.recall == pytest.approx(found.sum() / 10)
            assert {each.id for each in told.truth if each.found} <= set(told.ids) | _tied(told)


def _tied(told: Explanation) -> set[Any]:
    return {each.id for each in told.truth or () if "same distance" in each.why}


def test_each_missed_neighbour_has_a_reason_that_holds(layout: Sample) -> None:
    reasons = set()
    with layout.open() as index:
        for query in layout.queries:
            told = index.explain(query, **TIGHT)
            looked_at = {page.page for _, page in told.pages()}
            for each in told.truth or ():
                assert (each.reason is None) == each.found
                assert each.why
                if each.found:
                    assert each.found_in is not None or "same distance" in each.why
                    continue
                reasons.add(each.reason)
                if each.found_in is None and told.cost.pinned_hits + told.cost.reads == len(looked_at):
                    assert each.page not in looked_at
                if each.reason is MissReason.NOT_REACHED:
                    assert not each.group_scored
                if each.reason is MissReason.ESTIMATE:
                    assert each.estimate is not None
                    assert each.estimate > each.distance
    assert reasons
    assert reasons <= {MissReason.NOT_REACHED, MissReason.ESTIMATE, MissReason.EFFORT}


def test_a_limit_on_reads_is_named_as_the_reason(samples: Samples) -> None:
    sample = samples(CODES)
    with sample.open(least_with_codes(sample)) as index:
        told = [index.explain(query, effort=60, max_page_reads=1) for query in sample.queries]
    assert {each.reason for one in told for each in one.missed} >= {MissReason.READ_LIMIT}
    assert all(one.stopped is pageann.StopReason.MAX_PAGE_READS for one in told if one.missed)
    assert "used up" in told[0].stopped_because


@pytest.mark.parametrize("metric", METRICS)
def test_where_a_margin_ends_a_search_the_reasons_are_of_the_margin(metric: str, samples: Samples) -> None:
    sample = samples(replace(CODES, metric=metric))
    reasons = set()
    with sample.open(least_with_codes(sample)) as index:
        for effort in (2, 3, 5, 12, 30):
            for query in sample.queries:
                told = index.explain(query, effort=effort)
                _assert_ended_by_a_margin(told)
                for each in told.missed:
                    reasons.add(each.reason)
                    _assert_reason_is_of_the_margin(told, each)
                if told.missed:  # as many reads as it needs change nothing, so they are no reason
                    capped = index.explain(query, effort=effort, max_page_reads=told.cost.reads)
                    assert [each.why for each in capped.missed] == [each.why for each in told.missed]
                    assert MissReason.READ_LIMIT not in {each.reason for each in capped.missed}
    assert reasons == {MissReason.ESTIMATE, MissReason.EFFORT}


def _assert_ended_by_a_margin(told: Explanation) -> None:
    """It left candidates, and says of the nearest that it was beyond the limit on estimates."""
    last = told.rounds[-1]
    assert told.stopped is pageann.StopReason.CONVERGED
    if last.open_candidates == 0:
        assert "no page was left" in told.stopped_because
        return
    assert last.limit_after is not None
    assert f"above {last.limit_after:.6g}, up to which a page is worth a read" in told.stopped_because


def _assert_reason_is_of_the_margin(told: Explanation, missed: TrueNeighbour) -> None:
    """An estimate is to blame where the true distance was within the limit, else the effort is."""
    limits = [limit for each in told.rounds for limit in (each.limit_before, each.limit_after)]
    highest = max(limit for limit in limits if limit is not None)
    assert missed.estimate is not None
    assert told.rounds[-1].limit_after is not None
    assert missed.estimate > told.rounds[-1].limit_after, "it would have been read"
    within = missed.distance <= highest < missed.estimate
    assert (missed.reason is MissReason.ESTIMATE) == within
    assert f"up to {highest:.6g}" in missed.why or "the candidates" in missed.why


def least_with_codes(sample: Sample) -> int:
    """A budget that holds codes of all vectors, and few pages."""
    with sample.open() as index:
        items = {item.name: item.bytes for item in index.ledger.items}
    return sample.least_bytes() + items["codes"] + 40_000


def test_an_effort_that_leaves_nothing_out_misses_nothing(layout: Sample) -> None:
    with layout.open("16MiB") as index:
        told = index.explain(layout.queries[0], effort=layout.kind.rows)
    assert told.recall == 1
    assert told.missed == ()


def test_rounds_add_up(layout: Sample) -> None:
    with layout.open() as index:
        told = index.explain(layout.queries[1], recall=0.99)
    assert [each.reads for each in told.rounds] == sorted(each.reads for each in told.rounds)
    assert told.rounds[-1].reads == told.cost.reads
    assert told.rounds[-1].found == len(told.ids)
    found = sum(each.found for each in told.truth or ())
    assert told.rounds[-1].true_found in (found, found - len(_tied(told)))


def test_without_truth_nothing_is_said_of_it(samples: Samples) -> None:
    with samples(CODES).open() as index:
        told = index.explain(samples(CODES).queries[0], truth=False)
    assert told.truth is None
    assert told.recall is None
    assert "true neighbours" not in str(told)
    ElementTree.fromstring(told.to_svg())


def test_ids_of_the_user_are_told(samples: Samples) -> None:
    sample = samples(Kind(ids="str"))
    with sample.open() as index:
        told = index.explain(sample.queries[0], 5, effort=200)
    rows = ranked(all_distances(sample.base, sample.queries[:1], "l2"), 5)[0]
    assert told.ids == tuple(sample.ids[rows])
    assert told.truth is not None
    assert [each.id for each in told.truth] == list(told.ids)


def test_report_json_and_picture(layout: Sample) -> None:
    with layout.open() as index:
        for query in layout.queries[:5]:
            told = index.explain(query, **TIGHT)
            plain = json.loads(json.dumps(told.to_dict(), allow_nan=False))
            assert plain["recall"] == told.recall
            assert len(plain["rounds"]) == len(told.rounds)
            assert [each["reason"] for each in plain["truth"]] == [each.reason for each in told.truth or ()]
            report = str(told)
            assert f"{told.cost.reads:,} reads" in report
            for each in told.missed:
                assert each.reason is not None
                assert f"- {each.id} " in report
                assert each.reason.value in report
            picture = ElementTree.fromstring(told.to_svg())
            titles = [node.text or "" for node in picture.iter("{http://www.w3.org/2000/svg}title")]
            assert sum(title.startswith("page ") for title in titles) == len(list(told.pages()))
            words = " ".join(node.text or "" for node in picture.iter("{http://www.w3.org/2000/svg}text"))
            assert all(f"{each.id}: {each.reason}" in words for each in told.missed)


def test_the_picture_keeps_to_xml_whatever_the_index_is_called(samples: Samples, tmp_path: Any) -> None:
    path = tmp_path / "a<b>&\"c'"
    shutil.copytree(samples(CODES).path, path)
    with pageann.open(path, threads=1) as index:
        ElementTree.fromstring(index.explain(samples(CODES).queries[0]).to_svg())


@pytest.mark.parametrize(
    ("queries", "options", "said"),
    [
        (2, {}, "one"),
        (1, {"k": 0}, "k=0"),
        (1, {"effort": 3, "recall": 0.5}, "exclude"),
        (1, {"max_page_reads": 0}, "max_page_reads"),
    ],
)
def test_mistakes_are_refused(samples: Samples, queries: int, options: dict[str, Any], said: str) -> None:
    sample = samples(CODES)
    with sample.open() as index, pytest.raises(pageann.InvalidArgument, match=said):
        index.explain(sample.queries[:queries], **options)


def test_a_closed_index_explains_nothing(samples: Samples) -> None:
    index = samples(CODES).open()
    index.close()
    with pytest.raises(pageann.IndexClosed):
        index.explain(samples(CODES).queries[0])
