"""An index must never carry codes that opening it within its own budget has no room for.

The shape is planned before anything is built, from forecasts; what opening takes is known exactly. Where the
two differ, queries would run without the codes that the disk was filled with, or the budget that a refusal
names would be refused in its turn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.errors import BudgetTooSmall
from pageann.index.builder.fitting import fitted_plan, opening_plan
from pageann.types import Metric
from tests.library.samples import Kind, build_sample

SHAPES = [
    (9, 768, "float32"),
    (1000, 128, "uint8"),
    (1000, 1536, "float16"),
    (9000, 24, "float32"),
    (9000, 2, "uint8"),
    (60_000, 384, "float32"),
    (1_000_000, 128, "uint8"),
]
SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 20.0)


@pytest.mark.parametrize(("rows", "dim", "dtype"), SHAPES)
def test_the_finest_codes_fit_and_the_least_that_is_named_works(rows: int, dim: int, dtype: str) -> None:
    facts = rows, dim, np.dtype(dtype), Metric.L2
    refused = 0
    for share in SHARES:
        memory = max(1, int(share * rows * dim * facts[2].itemsize))
        try:
            plan = fitted_plan(*facts, memory, None)
        except BudgetTooSmall as error:
            refused += 1
            memory = max(memory + 1, error.required_bytes)
            plan = fitted_plan(*facts, memory, None)
        opened = opening_plan(*facts, plan, memory)
        assert opened.residence.code_bytes == max(plan.shape.code_bytes, default=0)
        assert opened.ledger.total <= memory
    assert refused < len(SHARES)


@pytest.mark.parametrize(
    ("rows", "dim", "dtype", "share", "carries_codes"),
    [
        (1_000_000, 128, "uint8", 0.01, False),
        (1_000_000, 128, "uint8", 0.1, True),
        (140_000, 384, "float32", 0.01, False),  # 0.3 bits a dimension mislead more than they help
        (140_000, 384, "float32", 0.03, True),
    ],
)
def test_codes_are_resident_where_they_are_fine_enough(
    rows: int, dim: int, dtype: str, share: float, carries_codes: bool
) -> None:
    facts = rows, dim, np.dtype(dtype), Metric.L2
    shape = fitted_plan(*facts, int(share * rows * dim * facts[2].itemsize), None).shape
    assert bool(shape.code_bytes) == carries_codes
    assert shape.rep_capacity > 0


@pytest.mark.parametrize(
    "kind",
    [
        Kind(rows=9000, dim=2, dtype="uint8", memory="80KiB"),
        Kind(rows=3000, dim=96, dtype="uint8", memory="110KiB"),
        Kind(rows=1500, dim=128, memory="200KiB"),
    ],
    ids=lambda kind: f"{kind.rows}x{kind.dim}",
)
def test_what_is_built_for_little_memory_is_opened_with_its_codes(kind: Kind, tmp_path: Path) -> None:
    sample = build_sample(kind, tmp_path / "index")
    for threads in (1, 4):
        with sample.open(threads=threads) as index:
            facts = index.describe()
            assert facts["resident"]["code_bytes"] == max(facts["layout"]["code_bytes"], default=0)
            assert index.ledger.total <= index.ledger.budget_bytes


def test_a_build_names_memory_that_it_takes(tmp_path: Path) -> None:
    base = np.zeros((500, 40), np.float32)
    base[:, 0] = np.arange(500)
    with pytest.raises(BudgetTooSmall, match="500 x 40 float32; the least that works is") as caught:
        pageann.build(base, tmp_path / "index", memory="20KiB")
    assert not (tmp_path / "index" / "CURRENT").exists()
    pageann.build(base, tmp_path / "index", memory=caught.value.required_bytes, threads=1)
    with pageann.open(tmp_path / "index", threads=1) as index:
        assert index.search(base[:5], 1).ids.ravel().tolist() == [0, 1, 2, 3, 4]
