"""An index is used from coroutines, threads and processes at once, and is gone once it is closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pageann
from pageann.index.search.records import RecordReader
from tests.library.brute import measured
from tests.library.samples import CODES, Kind, Sample, Samples

DRIVERS = ("auto", "threads", "aio")

SEARCHER = """
import sys, numpy as np, pageann
with pageann.open(sys.argv[1], threads=1) as index:
    print(index.search(np.load(sys.argv[2]), 10, effort=60).ids.tolist())
"""


@pytest.mark.parametrize("io", DRIVERS)
def test_a_hundred_coroutines(layout: Sample, io: str) -> None:
    queries = np.tile(layout.queries, (4, 1))[:100]

    async def all_at_once(index: pageann.Index) -> list[pageann.SearchResult]:
        return await asyncio.gather(*(index.asearch(query, 10, effort=30) for query in queries))

    with layout.open("300KiB" if layout.kind.dim == 24 else None, io=io) as index:
        together = index.search(queries, 10, effort=30)
        single = asyncio.run(all_at_once(index))
    for number, one in enumerate(single):
        np.testing.assert_array_equal(one.ids[0], together.ids[number])
        np.testing.assert_array_equal(one.distances[0], together.distances[number])
        assert int(measured(one).reads[0]) == int(measured(together).reads[number])


@pytest.mark.parametrize("io", DRIVERS)
def test_eight_threads(layout: Sample, io: str) -> None:
    with layout.open(io=io) as index:
        expected = [index.search(query, 10, effort=20) for query in layout.queries]

        def search(number: int) -> pageann.SearchResult:
            place = number % len(layout.queries)
            return index.search(layout.queries[place], 10, effort=20)

        with ThreadPoolExecutor(8) as pool:
            for number, found in enumerate(pool.map(search, range(160))):
                one = expected[number % len(expected)]
                np.testing.assert_array_equal(found.ids, one.ids)
                np.testing.assert_array_equal(found.distances, one.distances)
        assert index.stats()["queries"] == len(expected) + 160


CALLS: dict[str, Callable[[pageann.Index, Sample], Any]] = {
    "search": lambda index, sample: index.search(sample.queries),
    "exact": lambda index, sample: index.search(sample.queries, exact=True),
    "radius": lambda index, sample: index.search(sample.queries, radius=1.0),
    "asearch": lambda index, sample: asyncio.run(index.asearch(sample.queries[0])),
    "get": lambda index, sample: index.get([0]),
    "export": lambda index, sample: index.export(sample.path.parent / "never.npy"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_index_refuses(samples: Samples, call: str) -> None:
    sample = samples(CODES)
    index = sample.open()
    index.close()
    index.close()
    with pytest.raises(pageann.IndexClosed):
        CALLS[call](index, sample)
    assert not (sample.path.parent / "never.npy").exists()


@pytest.mark.parametrize("io", DRIVERS)
def test_closing_while_threads_search(samples: Samples, io: str) -> None:
    sample = samples(CODES)
    index = sample.open(io=io)
    expected = index.search(sample.queries, 10, effort=60)
    started = threading.Barrier(5)
    outcomes: list[Any] = []

    def search() -> None:
        started.wait()
        try:
            while True:
                outcomes.append(index.search(sample.queries, 10, effort=60).ids)
                index.search(sample.queries[:2], 10, exact=True)
                index.get([1, 2])
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    index.search(sample.queries, 10)
    index.close()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, pageann.IndexClosed), repr(outcome)
        else:
            np.testing.assert_array_equal(outcome, expected.ids)


@pytest.mark.parametrize("call", ["exact", "get"])
def test_close_waits_for_what_reads_beside_the_engine(
    samples: Samples, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor must not be closed, nor given to another file, under a read that goes on."""
    sample = samples(CODES)
    index = sample.open()
    begun, go_on = threading.Event(), threading.Event()
    outcomes: list[Any] = []
    name = "exact_scan" if call == "exact" else "vectors_of_slots"
    real = getattr(RecordReader, name)

    def held_up(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return real(*arguments, **options)

    def read() -> None:
        try:
            found = (
                index.search(sample.queries[:2], 10, exact=True).ids if call == "exact" else index.get([1])
            )
            outcomes.append(len(found))
        except BaseException as error:
            outcomes.append(error)

    monkeypatch.setattr(RecordReader, name, held_up)
    reader, closer = threading.Thread(target=read), threading.Thread(target=index.close)
    reader.start()
    assert begun.wait(30)
    closer.start()
    closer.join(0.3)
    go_on.set()
    for thread in (reader, closer):
        thread.join(30)
        assert not thread.is_alive()
    assert outcomes == [2 if call == "exact" else 1]


def test_a_coroutine_that_waits_at_a_close_gets_its_ids(samples: Samples) -> None:
    """They are read from a file once the neighbours are known, and the loop that waits may itself close."""
    sample = samples(Kind(rows=20_000, memory="110KiB", ids="str"))

    async def close_meanwhile(index: pageann.Index) -> pageann.SearchResult:
        waiting = asyncio.create_task(index.asearch(sample.queries[0], 10, effort=20))
        await asyncio.sleep(0)
        index.close()
        return await waiting

    with sample.open() as index:
        assert "ids" not in {item["name"] for item in index.describe()["ledger"]["items"]}
        expected = index.search(sample.queries[0], 10, effort=20)
        found = asyncio.run(close_meanwhile(index))
    np.testing.assert_array_equal(found.ids, expected.ids)


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked child."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = repr(error)
        os.write(send, answer.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize("io", DRIVERS)
def test_a_forked_child_is_told_to_open_its_own(samples: Samples, io: str) -> None:
    sample = samples(CODES)

    def search() -> str:
        try:
            index.search(sample.queries[0])
        except pageann.IndexClosed as error:
            return str(error)
        return "searched"

    with sample.open(io=io) as index:
        index.search(sample.queries)
        assert "fork" in in_child(search)
        assert index.search(sample.queries).complete.all(), "the parent goes on"


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_can_close_what_it_inherited(samples: Samples) -> None:
    sample = samples(CODES)

    def close() -> str:
        index.close()
        return "closed"

    with sample.open() as index:
        index.search(sample.queries)
        assert in_child(close) == "closed"
        assert index.search(sample.queries).complete.all()


def test_many_processes_open_one_index(samples: Samples, tmp_path: Any) -> None:
    sample = samples(CODES)
    np.save(tmp_path / "queries.npy", sample.queries[:5])
    command = [sys.executable, "-c", SEARCHER, str(sample.path), str(tmp_path / "queries.npy")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    with sample.open() as index:
        assert answers == [f"{index.search(sample.queries[:5], 10, effort=60).ids.tolist()}\n"] * 4


def test_one_index_can_be_open_many_times(samples: Samples) -> None:
    sample = samples(CODES)
    opened = [sample.open(memory, io=io) for memory in ("1MiB", "300KiB") for io in DRIVERS]
    found = [index.search(sample.queries, 10, effort=900).ids for index in opened[:3]]
    for index in opened:
        index.close()
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
