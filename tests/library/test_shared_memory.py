"""Processes that share memory hold an index once: within one budget, and with the answers of one alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pageann
from tests.library.samples import CODES, TWO_TIER, WALK, Kind, Sample, Samples, build_sample

READER = """
import json, re, sys
import numpy as np, pageann

path, shared, queries, memory = sys.argv[1:]
with pageann.open(path, memory=memory, threads=1, shared=shared) as index:
    found = index.search(np.load(queries), 10, effort=60)
    maps = open("/proc/self/maps").read()
    inodes = sorted({int(line.split()[4]) for line in maps.splitlines() if "memfd:pageann" in line})
    print(json.dumps({"ids": found.ids.tolist(), "inodes": inodes, "ledger": index.ledger.total}), flush=True)
    sys.stdin.read()
"""


def readers(sample: Sample, shared: str, memory: str, folder: Path) -> list[dict[str, Any]]:
    """What two processes say that have the index open at the same time."""
    np.save(folder / "queries.npy", sample.queries)
    arguments = [sys.executable, "-c", READER, str(sample.path), shared, str(folder / "queries.npy"), memory]
    running = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        return [json.loads(process.stdout.readline()) for process in running if process.stdout is not None]
    finally:
        for process in running:
            process.communicate("")


@pytest.mark.parametrize(
    "kind", [CODES, WALK, TWO_TIER, Kind(ids="str")], ids=["codes", "walk", "two-tier", "strings"]
)
def test_two_processes_hold_what_one_holds(samples: Samples, tmp_path: Path, kind: Kind) -> None:
    sample = samples(kind)
    with sample.open("2MiB", threads=1) as alone:
        expected = alone.search(sample.queries, 10, effort=60).ids.tolist()
    with pageann.SharedArrays(2) as shared:
        first, second = readers(sample, shared.address, "2MiB", tmp_path)
    assert first["ids"] == second["ids"] == expected
    assert first["inodes"] == second["inodes"] != []
    assert first["ledger"] <= 2 << 20


def test_the_ledger_is_of_all_together(samples: Samples) -> None:
    sample = samples(CODES)
    with sample.open(threads=1) as alone, pageann.SharedArrays(3) as shared:
        with sample.open(threads=1, shared=shared.address) as index:
            items = {item.name: item for item in index.ledger.items}
            held = {item.name: item for item in alone.ledger.items}
            assert index.ledger.total <= index.ledger.budget_bytes
            assert items["codes"] == held["codes"]
            assert items["router"] == held["router"]
            assert items["rings"].bytes == 3 * held["rings"].bytes
            assert items["queries in flight"].note.endswith("in each of 3 processes")
            assert items["queries in flight"].bytes == 3 * index._opened.plan.scratch_bytes
            shares = shared.stats()["bytes"]
            assert shares >= items["codes"].bytes + items["router"].bytes - 4096
        with pytest.raises(pageann.BudgetTooSmall) as caught:
            sample.open(1, threads=1, shared=shared.address)
        least = caught.value.required_bytes
        with sample.open(least, threads=1, shared=shared.address) as index:
            assert index.search(sample.queries[0], 10, effort=10).ids.shape == (1, 10)


def test_pinned_pages_are_shared(samples: Samples) -> None:
    sample = samples(WALK)
    with pageann.SharedArrays(2) as shared, sample.open("1MiB", shared=shared.address) as index:
        pinned = next(item for item in index.ledger.items if item.name == "pinned pages")
        assert shared.stats()["bytes"] >= pinned.bytes
        with sample.open("1MiB", shared=shared.address) as other:
            before = shared.stats()
            found = other.search(sample.queries, 10, effort=30)
            np.testing.assert_array_equal(found.ids, index.search(sample.queries, 10, effort=30).ids)
            assert shared.stats() == before


def test_a_damaged_file_is_refused_to_all(tmp_path: Path) -> None:
    sample = build_sample(CODES, tmp_path / "index")
    file = next(path for path in sample.path.rglob("codes-*.bin"))
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pageann.SharedArrays(2) as shared:
        for _ in range(2):
            with pytest.raises(pageann.DamagedIndex, match=re.escape(file.name)):
                sample.open(shared=shared.address)
        file.write_bytes(whole)
        with sample.open(shared=shared.address) as index:
            assert len(index.search(sample.queries, 10).ids) == len(sample.queries)


def test_a_new_version_has_arrays_of_its_own(tmp_path: Path) -> None:
    sample = build_sample(CODES, tmp_path / "index")
    with pageann.SharedArrays(2) as shared, sample.open(shared=shared.address) as old:
        before = old.search(sample.queries, 10, effort=60).ids
        pageann.build(sample.base[::-1].copy(), sample.path, memory=CODES.memory, threads=2)
        with sample.open(shared=shared.address) as new:
            assert (new.get([0])[0] == sample.base[-1]).all()
            found = new.search(sample.queries, 10, effort=60).ids
            same = np.mean(
                [np.isin(len(sample.base) - 1 - a, b).mean() for a, b in zip(found, before, strict=True)]
            )
            assert same > 0.9
        np.testing.assert_array_equal(old.search(sample.queries, 10, effort=60).ids, before)
