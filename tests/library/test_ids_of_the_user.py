"""Rows are found, fetched and named by the ids that the user gave, held in memory or read from the disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pageann
from tests.library.brute import all_distances, measured, ranked
from tests.library.samples import Kind, Sample, Samples

IDS = ("int64", "str")


@pytest.fixture(params=IDS)
def named(request: pytest.FixtureRequest, samples: Samples) -> Sample:
    """Enough rows that ids do not fit a small budget; each kind of id."""
    return samples(Kind(rows=2500, ids=request.param))


def memory_of(sample: Sample, resident: bool) -> int:
    """A budget that holds the ids, or has no room for them."""
    return 4 << 20 if resident else sample.least_bytes()


def as_array(sample: Sample, values: list[Any]) -> np.ndarray:
    """Ids in the type that searches return."""
    return np.array(values, dtype=sample.ids.dtype)


@pytest.mark.parametrize("resident", [False, True])
def test_searches_return_them(named: Sample, resident: bool) -> None:
    every = all_distances(named.base, named.queries, "l2")
    rows = ranked(every, 10)
    radius = float(np.sort(every[0])[20]) * (1 + 1e-6)
    with named.open(memory_of(named, resident)) as index:
        assert index.describe()["resident"]["ids"] == resident, "both ways are tested"
        found = index.search(named.queries, 10, exact=True)
        default = index.search(named.queries, 10, effort=40)
        near = index.search(named.queries[0], radius=radius, effort=20)
    assert found.ids.dtype == named.ids.dtype
    np.testing.assert_array_equal(found.ids, named.ids[rows])
    row_of = {name: row for row, name in enumerate(named.ids.tolist())}
    for number, names in enumerate(default.ids.tolist()):
        true = every[number, [row_of[name] for name in names]]
        np.testing.assert_allclose(default.distances[number], true, rtol=2e-7)
    assert near.ids.dtype == named.ids.dtype
    assert set(near.ids.tolist()) <= set(named.ids[every[0] <= radius].tolist())
    assert len(near.ids) > 0


def test_resident_or_not_the_answers_are_the_same(named: Sample) -> None:
    with named.open(memory_of(named, False)) as read, named.open(memory_of(named, True)) as held:
        for k in (1, 10):
            from_disk = read.search(named.queries, k, exact=True)
            from_memory = held.search(named.queries, k, exact=True)
            np.testing.assert_array_equal(from_disk.ids, from_memory.ids)
            np.testing.assert_array_equal(from_disk.distances, from_memory.distances)
        wanted = named.ids[::7].tolist()
        np.testing.assert_array_equal(read.get(wanted), held.get(wanted))


def test_reads_for_ids_are_counted(named: Sample) -> None:
    with named.open(memory_of(named, False)) as read:
        before = read.stats()["reads"]
        found = read.search(named.queries[:1], 10, effort=20)
        assert read.stats()["reads"] - before == int(measured(found).reads.sum())
        assert int(measured(found).reads[0]) > 0
        assert int(measured(found).hops[0]) >= 2, "pages first, then ids"


@pytest.mark.parametrize("resident", [False, True])
def test_vectors_come_back_by_id(named: Sample, resident: bool) -> None:
    rows = [2499, 0, 17, 17, 1200]
    with named.open(memory_of(named, resident)) as index:
        got = index.get(as_array(named, [named.ids[row] for row in rows]))
        listed = index.get([named.ids[row] for row in rows])
    np.testing.assert_array_equal(got, named.base[rows])
    np.testing.assert_array_equal(listed, named.base[rows])


@pytest.mark.parametrize("resident", [False, True])
def test_an_unknown_id_is_named(named: Sample, resident: bool) -> None:
    unknown: Any = "photo-nowhere" if named.kind.ids == "str" else 6
    with named.open(memory_of(named, resident)) as index:
        with pytest.raises(pageann.UnknownId, match=str(unknown)):
            index.get([named.ids[0], unknown])
        with pytest.raises(KeyError):
            index.get([unknown])


def test_ids_of_the_wrong_kind_are_refused(named: Sample) -> None:
    wrong: Any = [5] if named.kind.ids == "str" else ["five"]
    with named.open() as index, pytest.raises(pageann.PageANNError):
        index.get(wrong)


def test_row_numbers_where_none_are_given(samples: Samples) -> None:
    sample = samples(Kind())
    with sample.open() as index:
        np.testing.assert_array_equal(index.get([3, 899]), sample.base[[3, 899]])
        for wrong in (-1, 900, 2**40):
            with pytest.raises(pageann.UnknownId, match=str(wrong)):
                index.get([wrong])
        assert index.get(np.empty(0, np.int64)).shape == (0, sample.kind.dim)


def test_padding_of_string_ids_is_none(samples: Samples) -> None:
    sample = samples(Kind(rows=5, dim=8, ids="str"))
    with sample.open() as index:
        found = index.search(sample.queries[:2], 8)
    assert found.ids[:, 5:].tolist() == [[None] * 3] * 2
    assert set(found.ids[0, :5]) == set(sample.ids)


def test_duplicate_ids_are_refused_by_name(samples: Samples, tmp_path: Any) -> None:
    base = samples(Kind()).base
    with pytest.raises(pageann.InvalidData, match="twice"):
        pageann.build(base[:3], tmp_path / "index", ids=["a", "twice", "twice"], memory="1MiB")
    assert not (tmp_path / "index").exists()


def test_extreme_integers_are_ids(samples: Samples, tmp_path: Any) -> None:
    base = samples(Kind()).base[:4]
    ids = [-(2**63), 2**63 - 1, 0, -2]
    pageann.build(base, tmp_path / "index", ids=ids, memory="1MiB")
    with pageann.open(tmp_path / "index") as index:
        np.testing.assert_array_equal(index.get(ids), base)
        assert sorted(index.search(base[0], 4).ids[0].tolist()) == sorted(ids)


def test_the_id_that_pads_is_refused(samples: Samples, tmp_path: Any) -> None:
    with pytest.raises(pageann.InvalidData, match="row 1 has id -1"):
        pageann.build(samples(Kind()).base[:2], tmp_path / "index", ids=[0, -1], memory="1MiB")
