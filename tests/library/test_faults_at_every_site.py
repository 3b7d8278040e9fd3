"""Whatever the system refuses, wherever: a typed error or a right answer, soon, and nothing is left behind.

Each place where the package opens, measures, maps or reads something is found by running everything once;
then the calls of each are made to fail, end early or take long, the first time and every time. What is asked
must be answered rightly or refused with an error of the package within the time that it has, and the next
attempt, undisturbed, must succeed with no descriptor more than before.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pageann
from tests.library.samples import Kind, Sample, Samples
from tests.reference.fault_sites import Mishap, Site, SiteFault, Sites, mishaps_of

SECONDS = 60.0
"""Within which anything must have ended."""
DRIVERS = ("uring", "threads", "aio")
KINDS = {
    "codes": Kind(rows=600, dim=16, dtype="uint8", ids="str"),
    "walk": Kind(rows=20_000, dim=24, memory="110KiB", ids="int64"),
    "two-tier": Kind(rows=60, dim=768, memory="2MiB"),
}
LEAST_SITES = 25
"""Of one kind and driver: fewer means that the net has holes."""

Answer = list[NDArray[Any]]


@dataclass(frozen=True)
class Attempt:
    """Everything that reads, once; what it gave, or why not."""

    sample: Sample
    io: str
    memory: int | None

    def __call__(self) -> Answer:
        path, queries = self.sample.path, self.sample.queries[:3]
        with pageann.open(path, memory=self.memory, io=self.io, threads=1) as index:
            usual = index.search(queries, 5)
            alone = asyncio.run(_asked_of_a_loop(index, queries[0]))
            exact = index.search(queries, 5, exact=True)
            got = index.get(self.sample.ids[[0, 3]].tolist())
            inside = index.search(queries[:1], radius=float(exact.distances[0, 2]))
        for damage in pageann.verify(path):
            raise pageann.DamagedIndex(str(damage), damage.file, damage.page)
        return [usual.ids, usual.distances, alone.ids, exact.ids, exact.distances, got, inside.ids]


async def _asked_of_a_loop(index: pageann.Index, query: NDArray[Any]) -> pageann.SearchResult:
    return await asyncio.wait_for(index.asearch(query, 5), SECONDS)


def ended(attempt: Callable[[], Answer]) -> Answer | BaseException:
    """The answer or the error; an AssertionError where there is none within the time."""
    outcome: list[Answer | BaseException] = []

    def body() -> None:
        try:
            outcome.append(attempt())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return outcome[0] if outcome else AssertionError(f"not ended within {SECONDS:g} s")


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def is_right(answer: Answer, sound: Answer) -> bool:
    return all(np.array_equal(part, right) for part, right in zip(answer, sound, strict=True))


def outcome_of(attempt: Attempt, sites: Sites, fault: SiteFault, sound: Answer) -> str:
    """``answered`` or ``refused``; all else in a line that tells of it."""
    before = descriptors()
    sites.set(fault)
    found = ended(attempt)
    struck = sites.struck
    sites.set(None)
    what = f"{fault.site}, {fault.mishap.name}, times {fault.times}, {attempt.io}"
    if not struck:
        return f"{what}: was not met"
    if descriptors() != before:
        return f"{what}: {descriptors() - before} descriptors are left open"
    if isinstance(found, pageann.PageANNError):
        return "refused"
    if isinstance(found, BaseException):
        return f"{what}: {found!r}"
    return "answered" if is_right(found, sound) else f"{what}: a wrong answer"


def every_fault(attempt: Attempt, chosen: Callable[[Site, Mishap], bool]) -> tuple[set[Site], Counter[str]]:
    """(sites, outcomes) of one attempt under each fault at each of its sites."""
    outcomes: Counter[str] = Counter()
    with Sites().watched() as sites:
        sound = ended(attempt)
        assert isinstance(sound, list), sound
        sites.passed.clear()
        again = ended(attempt)
        assert isinstance(again, list)
        assert is_right(again, sound)
        passed = dict(sites.passed)
        for site in sorted(passed):
            for mishap in mishaps_of(site):
                for times in (1, -1) if passed[site] > 1 else (1,):
                    if chosen(site, mishap):
                        outcomes[outcome_of(attempt, sites, SiteFault(site, mishap, times=times), sound)] += 1
            assert is_right(attempt(), sound), f"after {site}"
    return set(passed), outcomes


def attempts(samples: Samples, name: str, io: str) -> list[Attempt]:
    """With memory to hold pages and ids, and with the least."""
    sample = samples(KINDS[name])
    return [Attempt(sample, io, 64 << 20), Attempt(sample, io, sample.least_bytes(1))]


@pytest.mark.slow
@pytest.mark.parametrize("io", DRIVERS)
@pytest.mark.parametrize("name", KINDS)
def test_every_fault_at_every_site(samples: Samples, name: str, io: str) -> None:
    found: set[Site] = set()
    outcomes: Counter[str] = Counter()
    for attempt in attempts(samples, name, io):
        passed, ended_so = every_fault(attempt, lambda site, mishap: True)
        found |= passed
        outcomes += ended_so
    print(f"\n{name} over {io}: {len(found)} sites, {outcomes.total()} faults, {dict(outcomes)}")
    require_ended_well(found, outcomes)


def require_ended_well(found: set[Site], outcomes: Counter[str]) -> None:
    """All outcomes are what they may be, and each of them came about."""
    assert len(found) >= LEAST_SITES, sorted(map(str, found))
    assert set(outcomes) == {"refused", "answered"}, "\n".join(sorted(outcomes))


def test_errors_and_pieces_at_every_site(samples: Samples) -> None:
    """The same without what takes long: one kind over one driver."""
    attempt = attempts(samples, "codes", "uring")[0]
    sites, outcomes = every_fault(attempt, lambda site, mishap: mishap in (Mishap.EIO, Mishap.HALF))
    require_ended_well(sites, outcomes)
