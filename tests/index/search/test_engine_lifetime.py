"""How engines end: closed, forgotten, inherited by a fork, or met by the end of the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pageann.errors import IndexClosed, InvalidArgument, StorageError
from pageann.index.search import desks
from pageann.index.search.engine import Engine
from pageann.index.search.load import LoadedSegment
from pageann.storage.io.faults import Fault, FaultKind
from pageann.storage.io.ring import Ring
from tests.index.search.engines import Sample, assert_same, in_threads, running

ROOT = Path(__file__).parents[3]


def own_threads() -> set[str]:
    """Names of the threads of engines."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("pageann")}


def test_nothing_is_left_of_a_closed_engine(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    before = own_threads()
    with running(segment, driver) as engine:
        engine.run(codes.asked, codes.options())
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with running(segment, driver) as engine:
            engine.run(codes.asked, codes.options())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert own_threads() == before


def test_close_twice_and_calls_after_it(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    engine = Engine(segment, driver, workers=2, slots=4)
    engine.run(codes.asked, codes.options())
    engine.close()
    engine.close()
    with pytest.raises(IndexClosed, match="open it again"):
        engine.run(codes.asked, codes.options())


def test_close_waits_for_calls_that_run(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    faults = [Fault(FaultKind.DELAY, 2_000, times=-1)]
    engine = Engine(segment, driver, workers=1, slots=2, faults=faults)
    refused = 0
    lock = threading.Lock()
    begun = threading.Event()

    def client(number: int) -> None:
        nonlocal refused
        if number == 0:
            begun.wait()
            engine.close()
            return
        for _ in range(100):
            try:
                answers = engine.run(codes.asked[:3], codes.options())
            except IndexClosed:
                with lock:
                    refused += 1
                return
            assert (answers.counts == 10).all()
            begun.set()

    in_threads(4, client)
    assert refused == 3


def test_a_forgotten_engine_lets_its_threads_go(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    before = set(threading.enumerate())
    engine = Engine(segment, driver, workers=2, slots=4)
    engine.run(codes.asked, codes.options())
    mine = [thread for thread in set(threading.enumerate()) - before if thread.name in own_threads()]
    assert mine
    del engine
    gc.collect()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


def in_child(check: Callable[[], None]) -> None:
    """Run ``check`` in a forked child; fails if it fails there."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            check()
            report = ""
        except BaseException:
            report = traceback.format_exc()
        os.write(writing, report.encode()[-4000:])
        os._exit(1 if report else 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, report or f"the child ended with status {status}"


def test_a_forked_child_is_refused_and_the_parent_goes_on(
    codes: Sample, segment: LoadedSegment, driver: str
) -> None:
    with running(segment, driver) as engine:
        expected = engine.run(codes.asked, codes.options())

        def check() -> None:
            with pytest.raises(IndexClosed, match="opened before this process was forked"):
                engine.run(codes.asked, codes.options())
            engine.close()
            with running(segment, driver) as own:
                assert_same(own.run(codes.asked, codes.options()), expected)

        in_child(check)
        assert_same(engine.run(codes.asked, codes.options()), expected)


_SCRIPT = """
import asyncio, os, pathlib, sys, threading
import numpy as np
from pageann.index.search.engine import Engine
from pageann.storage.io.faults import Fault, FaultKind
from pageann.storage.io.ring import Ring
from tests.index.search.engines import build_sample

driver, what, folder = sys.argv[1:]
sample = build_sample("codes", pathlib.Path(folder))
segment = sample.load()
slow = [Fault(FaultKind.DELAY, 5000, times=-1)]
engine = Engine(segment, driver, workers=2, slots=4, faults=slow if what == "busy" else [])
print(engine.run(sample.asked[:1], sample.options()).counts[0], flush=True)
if what == "busy":
    many = np.concatenate([sample.asked] * 200)
    started = threading.Event()

    def search():
        started.set()
        engine.run(many, sample.whole())

    threading.Thread(target=search, daemon=True).start()
    started.wait()
"""


@pytest.mark.parametrize("what", ["idle", "busy"])
def test_the_interpreter_ends_while_workers_are(driver: str, what: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, driver, what, str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "10\n"
    assert "Fatal" not in ended.stderr


def test_idle_workers_use_no_processor_time(codes: Sample, segment: LoadedSegment, driver: str) -> None:
    with running(segment, driver, workers=4, slots=8) as engine:
        engine.run(codes.asked, codes.options())
        quiet = threading.Event()
        used = time.process_time()
        quiet.wait(0.5)
        assert time.process_time() - used < 0.05


@pytest.mark.parametrize(("workers", "slots"), [(0, 1), (1, 0)])
def test_an_engine_needs_workers_and_slots(segment: LoadedSegment, workers: int, slots: int) -> None:
    with pytest.raises(InvalidArgument):
        Engine(segment, "threads", workers=workers, slots=slots)
    with pytest.raises(InvalidArgument, match="uring, threads or aio"):
        Engine(segment, "mmap", workers=1, slots=1)


def test_a_ring_that_cannot_be_set_up_fails_the_call_only(
    codes: Sample, segment: LoadedSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [True]

    def make_ring(*arguments: object) -> Ring:
        if refused:
            refused.clear()
            raise StorageError("io_uring_setup: ENOMEM; use the threads driver", 12)
        return Ring(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desks, "Ring", make_ring)
    with running(segment, "uring", workers=1) as engine:
        with pytest.raises(StorageError, match="ENOMEM"):
            engine.run(codes.asked, codes.options())
        try:
            answers = engine.run(codes.asked, codes.options())
        except StorageError as error:
            pytest.skip(str(error))
        assert (answers.counts == 10).all()
        assert np.isfinite(answers.distances).all()
