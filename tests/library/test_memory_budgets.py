"""Any budget opens any index, or is refused with the least that works; the answers stay exact.

The least that is named must work. What is spent, item by item, must not exceed what was allowed. A
search that names a recall is answered under every budget, with a warning where memory keeps it short.
"""

from __future__ import annotations

import numpy as np
import pytest

import pageann
from tests.library.brute import measured, recall, require_contract, require_exact
from tests.library.samples import LAYOUTS, Kind, Sample, Samples

SHARES = ("1%", "3%", "10%", "30%", "60%", "100%", "200%")


@pytest.fixture(scope="module")
def sample(samples: Samples) -> Sample:
    """Built for 30 % of some 1.5 MB."""
    return samples(Kind(rows=16_000, dim=24, memory="30%", ids="int64"))


@pytest.mark.parametrize("memory", SHARES)
def test_every_budget_gives_exact_distances(sample: Sample, memory: str) -> None:
    budget = int(float(memory[:-1]) / 100 * sample.base.nbytes)
    least = sample.least_bytes()
    if budget < least:
        with pytest.raises(pageann.BudgetTooSmall) as caught:
            sample.open(memory)
        assert caught.value.required_bytes == least
        return
    with sample.open(memory) as index:
        assert index.ledger.budget_bytes == budget
        assert index.ledger.total <= budget
        found = index.search(sample.queries, 10)
        exact = index.search(sample.queries, 10, exact=True)
    rows = {name: row for row, name in enumerate(sample.ids.tolist())}
    for result in (found, exact):
        result.ids[:] = np.vectorize(rows.__getitem__)(result.ids)
    require_contract(found, sample.base, sample.queries, "l2", 10)
    require_exact(exact, sample.base, sample.queries, "l2", 10)
    assert recall(found, sample.base, sample.queries, "l2") >= 0.9 or measured(found).warnings


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_least_that_is_named_works(samples: Samples, name: str, threads: int) -> None:
    sample = samples(LAYOUTS[name])
    least = sample.least_bytes(threads)
    with sample.open(least, threads=threads) as index:
        assert index.ledger.total <= least
        found = index.search(sample.queries, 10)
        found_one = index.search(sample.queries[0], 1)
    require_contract(found, sample.base, sample.queries, "l2", 10)
    require_contract(found_one, sample.base, sample.queries[:1], "l2", 1)
    with pytest.raises(pageann.BudgetTooSmall):
        sample.open(least - 1, threads=threads)


def test_a_recall_that_memory_cannot_give_is_warned_of(samples: Samples) -> None:
    sample = samples(Kind(rows=2500, memory="90KiB"))
    with sample.open(sample.least_bytes()) as index:
        found = index.search(sample.queries, 10, recall=1.0)
        assert any("memory" in text for text in measured(found).warnings), measured(found).warnings
        with pytest.raises(pageann.InvalidArgument, match="open the index with more memory"):
            index.search(sample.queries, 10, effort=2000)


def test_memory_that_is_left_serves_searches_of_more_effort(layout: Sample) -> None:
    with layout.open("32MiB") as index:
        rows = len(layout.base)
        found = index.search(layout.queries, rows, effort=rows)
        assert index.ledger.total <= 32 << 20
    require_exact(found, layout.base, layout.queries, "l2", rows)


@pytest.mark.parametrize("memory", ["64 parsecs", "", "-1", "0%", 0, -5, True, 1.5])
def test_what_is_no_size_is_refused(layout: Sample, memory: object) -> None:
    with pytest.raises(pageann.InvalidArgument, match="memory="):
        layout.open(memory)
