"""Indexes with codes of every family answer, explain themselves and keep their budgets alike.

Guarded: a family that only the build knows; a choice that another number of threads, or going on after a
stop, makes otherwise; a mistake that is not answered in one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pageann
from pageann.cli.main import main
from pageann.datasets.synthetic import clustered
from pageann.index.builder import checkpoint, segment
from pageann.index.builder.fitting import CodeChoice
from pageann.index.code_families import Family
from pageann.plan import plan_build
from tests.library.test_same_bytes import digests

ROWS, DIM = 3000, 48
BASE, QUERIES = clustered(ROWS, DIM, queries=40, clusters=8, intrinsic_dim=16, seed=21)
MEMORY = "45%"
OTHERS = ["pq8", "rabitq", "sq8"]


@pytest.fixture(scope="module", params=OTHERS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("families") / "index"
    pageann.build(BASE, path, memory=MEMORY, codes=request.param, threads=2)
    return request.param, path


def test_answers(built: tuple[str, Path]) -> None:
    family, path = built
    with pageann.open(path) as index:
        layout = index.describe()["layout"]
        assert layout["code_family"] == family
        found = index.search(QUERIES, 10, effort=60)
        exact = index.search(QUERIES, 10, exact=True)
        hits = [len(set(mine) & set(true)) for mine, true in zip(found.ids, exact.ids, strict=True)]
        assert np.mean(hits) > 9.5
    with pageann.open(path, memory="4MiB") as index:
        assert (index.search(QUERIES, 10, effort=ROWS).ids == exact.ids).all()
        assert index.search(QUERIES, 10, recall=0.9).ids.shape == (len(QUERIES), 10)
    assert not list(pageann.verify(path))


def test_the_ledger_is_what_is_held(built: tuple[str, Path]) -> None:
    _, path = built
    with pageann.open(path, threads=1) as index:
        resident = index._opened._segment.resident
        held = sum(getattr(resident, f"code_{name}").nbytes for name in ("rotation", "starts", "words"))
        item = next(item for item in index.ledger.items if item.name == "codes")
        assert item.bytes == held + resident.page_codes.nbytes
        assert sum(item.bytes for item in index.ledger.items) <= index.ledger.budget_bytes


def test_less_memory_has_narrower_codes(built: tuple[str, Path]) -> None:
    """Down to none, and with more than it was built for."""
    _, path = built
    widths = []
    for memory in ("200%", MEMORY, "30%", "20%", "14%"):
        with pageann.open(path, memory=memory) as index:
            widths.append(index.describe()["resident"]["code_bytes"])
            assert index.describe()["resident"]["code_family"] == (built[0] if widths[-1] else None)
            assert index.search(QUERIES[:3], 5, effort=40).ids.shape == (3, 5)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == widths[1] > widths[-1]


def test_a_query_is_explained_by_its_estimates(built: tuple[str, Path]) -> None:
    _, path = built
    with pageann.open(path) as index:
        for query in QUERIES[:4]:
            told = index.explain(query, 10, effort=30)
            assert list(told.ids) == index.search(query, 10, effort=30).ids[0].tolist()
            assert told.truth is not None
            known = [(each.estimate, each.distance) for each in told.truth if each.estimate is not None]
            assert len(known) > 5
            assert np.median([abs(estimate / distance - 1) for estimate, distance in known]) < 0.25


@pytest.mark.parametrize("codes", [*OTHERS, "auto"])
def test_threads_change_no_byte(tmp_path: Path, codes: str) -> None:
    for threads in (1, 2):
        pageann.build(BASE, tmp_path / str(threads), memory=MEMORY, codes=codes, threads=threads, seed=3)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_the_cheapest_codes_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[CodeChoice] = []

    def costs(*arguments: Any, **options: Any) -> list[float]:
        asked.extend(arguments[4])
        return [5.0 if choice.shape.code_family is Family.RABITQ else 6.0 for choice in asked]

    monkeypatch.setattr(segment, "choice_costs", costs)
    pageann.build(BASE, tmp_path / "index", memory="70%", threads=1)
    offered = {
        (choice.shape.code_family, choice.shape.code_bytes[0]): choice.pinned_share for choice in asked
    }
    assert {family for family, _ in offered} >= {Family.PQ4, Family.PQ8, Family.RABITQ}
    assert offered[Family.PQ4, 12] > offered[Family.PQ4, 18] > offered[Family.PQ4, 24]
    with pageann.open(tmp_path / "index") as index:
        first = next(choice for choice in asked if choice.shape.code_family is Family.RABITQ)
        assert index.describe()["layout"]["code_family"] == "rabitq"
        assert index.describe()["resident"]["code_bytes"] == first.shape.code_bytes[0]
        assert "codes" not in index.describe()["options"]
    asked.clear()
    pageann.build(BASE, tmp_path / "named", memory=MEMORY, codes="pq4", threads=1)
    assert not asked
    with pageann.open(tmp_path / "named") as index:
        assert "code_family" not in index.describe()["layout"]
        assert index.describe()["options"]["codes"] == "pq4"


def test_a_choice_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before a build was stopped decides after it."""
    monkeypatch.setattr(checkpoint, "_LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "_COST_FACTOR", 0.0)
    monkeypatch.setattr(
        segment, "choice_costs", lambda *given, **_: [-float(n) for n, _ in enumerate(given[4])]
    )
    pageann.build(BASE, tmp_path / "whole", memory=MEMORY, threads=1)
    with pytest.raises(pageann.BuildCancelled):
        pageann.build(
            BASE, tmp_path / "index", memory=MEMORY, threads=1, progress=lambda event: event.phase != "pages"
        )
    monkeypatch.setattr(segment, "choice_costs", lambda *_, **__: pytest.fail("measured twice"))
    pageann.build(BASE, tmp_path / "index", memory=MEMORY, threads=1)
    assert digests(tmp_path / "index") == digests(tmp_path / "whole")
    with pageann.open(tmp_path / "index") as index:
        assert index.describe()["layout"]["code_family"] != "pq4"


def test_a_plan_tells_of_the_family_asked_for() -> None:
    for codes, width in (("sq8", 48), ("pq4", 24)):
        plan = plan_build(BASE, memory=MEMORY, codes=codes)
        item = next(item for item in plan.ledger.items if item.name == "codes")
        assert item.note == f"{width} bytes a vector"


@pytest.mark.parametrize(
    ("codes", "memory", "said"),
    [
        ("pq16", MEMORY, "codes='pq16': give one of auto, pq4, pq8, rabitq, sq8"),
        ("sq8", "20%", "has no room for codes of all vectors that are worth their place; give more"),
    ],
)
def test_mistakes_are_answered_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codes: str, memory: str, said: str
) -> None:
    with pytest.raises(pageann.InvalidArgument, match="codes"):
        pageann.build(BASE, tmp_path / "index", memory=memory, codes=codes)
    np.save(tmp_path / "base.npy", BASE)
    given = ["build", str(tmp_path / "base.npy"), str(tmp_path / "index"), "--memory", memory]
    assert main([*given, "--codes", codes]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "index").exists()


def test_damage_to_what_codes_are_made_with_is_found(built: tuple[str, Path], tmp_path: Path) -> None:
    """Sound bytes of a family that is not the one that the manifest tells of."""
    from pageann.index.search.soundness import check_quantizer

    family, path = built
    with pageann.open(path) as index:
        resident = index._opened._segment.resident
        arrays = resident.code_rotation, resident.code_starts, resident.code_words
        assert check_quantizer(path, DIM, *arrays, Family(family)) == resident.parameters[8]
        other = Family.PQ4 if family != "pq4" else Family.PQ8
        with pytest.raises(pageann.DamagedIndex):
            check_quantizer(path, DIM, *arrays, other)


def test_measured_recall_is_of_the_family(built: tuple[str, Path]) -> None:
    """So a recall that is asked for is met."""
    _, path = built
    with pageann.open(path) as index:
        found = index.search(QUERIES, 10, recall=0.95)
        exact = index.search(QUERIES, 10, exact=True)
        hits = [len(set(mine) & set(true)) for mine, true in zip(found.ids, exact.ids, strict=True)]
        assert np.mean(hits) / 10 >= 0.93
