"""A damaged index is found by `verify`, and a search over it is right or refused: never wrong, never a crash.

Damage is a flipped bit anywhere, two exchanged pages, a file cut short, missing or emptied. Each is made
on a copy, looked for, searched over by every driver in turn, and repaired.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from pageann.storage.pagefile import read_page_file_header
from tests.library.samples import Kind, Sample, Samples

KINDS = {
    "codes": Kind(rows=600, dim=16, dtype="uint8", ids="str"),
    "walk": Kind(rows=20_000, dim=24, memory="110KiB", ids="int64"),
    "two-tier": Kind(rows=60, dim=768, memory="2MiB"),
}
DRIVERS = itertools.cycle(["auto", "threads", "aio"])
REFUSALS = (pageann.DamagedIndex, pageann.FormatTooNew, pageann.IndexNotFound)
FAST_FLIPS, SLOW_FLIPS = 60, 1000
FAST_SWAPS, SLOW_SWAPS = 10, 100

Answer = list[NDArray[Any]]


def page_bytes_of(file: Path) -> int:
    """How long the pages of a page file are, by its header."""
    return read_page_file_header(file)[0].page_bytes


@dataclass(frozen=True)
class Patient:
    """A copy that may be damaged, and what a sound one answers."""

    path: Path
    sample: Sample
    sound: Answer

    def answer(self, io: str) -> Answer:
        """Searches of every kind, over all pages, and vectors by id."""
        with pageann.open(self.path, io=io, threads=1) as index:
            queries = self.sample.queries[:5]
            usual = index.search(queries, 10)
            exact = index.search(queries, 10, exact=True)
            got = index.get(self.sample.ids[[0, 3]].tolist())
        return [usual.ids, usual.distances, exact.ids, exact.distances, got]

    def require_right_or_refused(self, what: object) -> bool:
        """Search over the damaged copy; whether it was refused."""
        io = next(DRIVERS)
        try:
            answer = self.answer(io)
        except REFUSALS:
            return True
        except BaseException as error:
            raise AssertionError(f"{what} over {io}: {error!r}") from error
        for part, sound in zip(answer, self.sound, strict=True):
            assert np.array_equal(part, sound), f"{what} over {io}: a wrong answer"
        return False

    def files(self) -> list[Path]:
        return sorted(file for file in self.path.rglob("*") if file.is_file())

    def label(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()


@pytest.fixture(params=KINDS)
def patient(request: pytest.FixtureRequest, samples: Samples, tmp_path: Path) -> Iterator[Patient]:
    """A copy of each layout; repaired when a test is through with it."""
    sample = samples(KINDS[request.param])
    shutil.copytree(sample.path, tmp_path / "copy")
    sound = Patient(sample.path, sample, []).answer("auto")
    copy = Patient(tmp_path / "copy", sample, sound)
    yield copy
    assert pageann.verify(copy.path) == [], "all damage was undone"
    assert not copy.require_right_or_refused("no damage")


@contextmanager
def flipped(file: Path, bit: int) -> Iterator[None]:
    """One bit of a file is wrong."""
    for step in range(2):
        with file.open("r+b") as opened:
            opened.seek(bit // 8)
            byte = opened.read(1)[0]
            opened.seek(bit // 8)
            opened.write(bytes([byte ^ 1 << bit % 8]))
        if step == 0:
            yield


@contextmanager
def replaced(file: Path, content: bytes | None) -> Iterator[None]:
    """A file has another content, or none."""
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    yield
    file.write_bytes(whole)


def require_flips_found(patient: Patient, count: int, seed: int) -> None:
    """Half of the bits anywhere, by size; half in a file chosen at random."""
    generator = np.random.default_rng(seed)
    files = patient.files()
    sizes = np.array([file.stat().st_size for file in files])
    refused = 0
    for number in range(count):
        weights = sizes / sizes.sum() if number % 2 else None
        place = int(generator.choice(len(files), p=weights))
        bit = int(generator.integers(8 * sizes[place]))
        what = f"bit {bit} of {patient.label(files[place])} (seed {seed})"
        with flipped(files[place], bit):
            found = pageann.verify(patient.path)
            assert [damage.file for damage in found] == [patient.label(files[place])], what
            refused += patient.require_right_or_refused(what)
    assert refused > 0


def test_flipped_bits(patient: Patient) -> None:
    require_flips_found(patient, FAST_FLIPS, 0)


@pytest.mark.slow
def test_a_thousand_flipped_bits(patient: Patient) -> None:
    require_flips_found(patient, SLOW_FLIPS, 1)


def require_swaps_found(patient: Patient, count: int, seed: int) -> None:
    """Exchange pages of each file of pages."""
    generator = np.random.default_rng(seed)
    folder = next(patient.path.glob("seg-*"))
    for name in ("pages.bin", "vectors.bin"):
        file = folder / name
        if not file.exists():
            continue
        whole = file.read_bytes()
        pages = np.frombuffer(whole, np.uint8).reshape(-1, page_bytes_of(file))
        pairs = [pair for pair in itertools.combinations(range(len(pages)), 2) if pair[0] > 0]
        chosen = generator.permutation(len(pairs))[:count]
        for first, second in (pairs[place] for place in chosen):
            changed = pages.copy()
            changed[[first, second]] = pages[[second, first]]
            what = f"pages {first} and {second} of {name}"
            with replaced(file, changed.tobytes()):
                found = pageann.verify(patient.path)
                assert {damage.page for damage in found} == {first - 1, second - 1}, what
                patient.require_right_or_refused(what)


def test_swapped_pages(patient: Patient) -> None:
    require_swaps_found(patient, FAST_SWAPS, 0)


@pytest.mark.slow
def test_a_hundred_pairs_of_swapped_pages(patient: Patient) -> None:
    require_swaps_found(patient, SLOW_SWAPS, 1)


def test_files_that_are_cut_short_missing_or_longer(patient: Patient) -> None:
    for file in patient.files():
        whole = file.read_bytes()
        contents: dict[str, bytes | None] = {
            "empty": b"",
            "a byte short": whole[:-1],
            "a page short": whole[:-4096],
            "half": whole[: len(whole) // 2],
            "a byte longer": whole + b"\0",
            "zeros": bytes(len(whole)),
            "missing": None,
        }
        for what, content in contents.items():
            label = f"{patient.label(file)}: {what}"
            with replaced(file, content):
                patient.require_right_or_refused(label)
                if file.name == "CURRENT" and content is None:
                    with pytest.raises(pageann.IndexNotFound):
                        pageann.verify(patient.path)
                else:
                    assert pageann.verify(patient.path), label


def test_a_page_file_of_another_index_is_not_taken(patient: Patient, tmp_path: Path) -> None:
    sample = patient.sample
    ids = None if sample.kind.ids == "" else sample.ids.tolist()
    pageann.build(sample.base, tmp_path / "other", memory=sample.kind.memory, ids=ids, seed=9, threads=1)
    folder, others = (next(path.glob("seg-*")) for path in (patient.path, tmp_path / "other"))
    for file in sorted(folder.iterdir()):
        other = (others / file.name).read_bytes()
        if other == file.read_bytes():
            continue
        with replaced(file, other):
            assert pageann.verify(patient.path), file.name
            if file.name in ("pages.bin", "vectors.bin"):
                assert patient.require_right_or_refused(f"{file.name} of another index")


def test_damage_names_its_file_and_page(patient: Patient) -> None:
    folder = next(patient.path.glob("seg-*"))
    file = next(file for file in (folder / "vectors.bin", folder / "pages.bin") if file.exists())
    with flipped(file, 8 * (page_bytes_of(file) + 200)):
        (damage,) = pageann.verify(patient.path)
        assert (damage.file, damage.page) == (patient.label(file), 0)
        with (
            pytest.raises(pageann.DamagedIndex, match=rf"{file.name}.*page 0") as caught,
            pageann.open(patient.path, threads=1) as index,
        ):
            index.search(patient.sample.queries, exact=True)
        assert caught.value.page == 0
        assert caught.value.file.endswith(file.name)
