"""A file of an index that ends anywhere too soon is found by `verify`, and is never taken for a whole one.

Of a tiny index every length shorter than the whole is tried, of every file. Of other layouts, whose files are
longer: every length of what is no longer than a page, and else all within the headers, those around every
boundary of pages, and some at random. Three times: as an index is opened; with the check of lengths that
opening makes first out of the way, so that the reader of each file has to notice by itself; and under an
index that is open already.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pageann
from pageann.index.search import opened
from tests.library.samples import Kind, Samples
from tests.library.test_damage import DRIVERS, REFUSALS, Patient

WHOLLY_TRIED = Kind(rows=40, dim=4, dtype="uint8", ids="int64")
KINDS = {
    "strings": Kind(rows=9, dim=4, dtype="uint8", ids="str"),
    "two-tier": Kind(rows=4, dim=520, memory="2MiB"),
    "walk": Kind(rows=20_000, dim=24, memory="110KiB", ids="int64"),
    "tiny": WHOLLY_TRIED,
}
HEADER_BYTES = 200
"""Of pages and bundles: beyond what any of their headers takes."""
RANDOM_LENGTHS = 150


@pytest.fixture(params=KINDS)
def patient(request: pytest.FixtureRequest, samples: Samples, tmp_path: Path) -> Iterator[Patient]:
    """A copy of each kind; whole again when a test is through with it."""
    sample = samples(KINDS[request.param])
    shutil.copytree(sample.path, tmp_path / "copy")
    copy = Patient(tmp_path / "copy", sample, Patient(sample.path, sample, []).answer("auto"))
    yield copy
    assert pageann.verify(copy.path) == [], "all files are whole again"


def lengths_of(size: int, is_every: bool) -> list[int]:
    """Lengths to try of a file of ``size`` bytes, the greatest first."""
    if is_every or size <= 4096:
        return list(range(size))[::-1]
    starts = np.arange(0, size, 4096)
    around = [starts + off for off in (-1, 0, 1)]
    headers = [np.arange(HEADER_BYTES), 4096 + np.arange(HEADER_BYTES), size - np.arange(HEADER_BYTES)]
    chosen = np.random.default_rng(size).integers(0, size, RANDOM_LENGTHS)
    found = np.unique(np.concatenate([*around, *headers, chosen]))
    return list(found[(found >= 0) & (found < size)][::-1].tolist())


@contextmanager
def being_cut(patient: Patient, file: Path, step: int = 1) -> Iterator[Iterator[int]]:
    """Shorter and shorter lengths that the file then has; whole again at the end.

    With ``step``, every so manieth of those of an index of which not all are tried.
    """
    whole = file.read_bytes()
    is_every = patient.sample.kind == WHOLLY_TRIED

    def cuts() -> Iterator[int]:
        for length in lengths_of(len(whole), is_every)[:: 1 if is_every else step]:
            os.truncate(file, length)
            yield length

    try:
        yield cuts()
    finally:
        with file.open("r+b") as opened_file:
            opened_file.write(whole)


@pytest.mark.slow
def test_verify_finds_every_cut_and_opening_refuses_it(patient: Patient) -> None:
    for file in patient.files():
        label = patient.label(file)
        with being_cut(patient, file) as cuts:
            for length in cuts:
                found = {damage.file for damage in pageann.verify(patient.path)}
                assert found == {label}, f"{label} of {length} bytes: {found}"
                refused = patient.require_right_or_refused(f"{label} of {length} bytes")
                assert refused, f"{label} of {length} bytes was opened"


@pytest.mark.slow
def test_each_reader_notices_without_the_check_of_lengths(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_require_files", lambda folder, entry: None)
    refused: dict[str, int] = {}
    for file in patient.files():
        label = patient.label(file)
        with being_cut(patient, file) as cuts:
            refused[label] = sum(
                patient.require_right_or_refused(f"{label} of {length} bytes") for length in cuts
            )
    assert all(refused.values()), refused


@pytest.mark.slow
def test_files_that_are_cut_under_an_open_index(patient: Patient) -> None:
    folder = next(patient.path.glob("seg-*"))
    for name in ("pages.bin", "vectors.bin", "ids.bin"):
        file = folder / name
        if not file.exists():
            continue
        for io in set(itertools.islice(DRIVERS, 3)):
            with pageann.open(patient.path, io=io, threads=1) as index, being_cut(patient, file, 16) as cuts:
                refused = sum(answers_right_or_refuses(patient, index, f"{name}, {io}: {at}") for at in cuts)
            held = name == "ids.bin" or index.ledger.total >= file.stat().st_size
            assert refused or held, f"{name} over {io}: no cut was noticed"


def answers_right_or_refuses(patient: Patient, index: pageann.Index, what: str) -> bool:
    """Search an open index of a file that was cut short; whether it refused."""
    queries = patient.sample.queries[:2]
    asked = [
        lambda: index.search(queries, 10).ids,
        lambda: index.search(queries, 10, exact=True).ids,
        lambda: index.get(patient.sample.ids[[0, 3]].tolist()),
    ]
    sound = patient.sound[0][:2], patient.sound[2][:2], None
    refused = False
    for ask, right in zip(asked, sound, strict=True):
        try:
            answer = ask()
        except REFUSALS:
            refused = True
        else:
            expected = patient.sample.base[[0, 3]] if right is None else right
            assert np.array_equal(answer, expected), f"{what}: a wrong answer"
    return refused
