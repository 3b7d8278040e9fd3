"""Memory that processes share: filled once, changed by nobody, gone with its last user.

Guarded: two copies where one would do; an array that its filler left half done; a wait for a process that
has died; a memory file that outlives all who map it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pageann import InvalidArgument, SharedArrays, StorageError
from pageann.storage.arrays import file_key
from pageann.storage.shared import join

DYING = """
import os, signal, sys
from pageann.storage.shared import join

def fill(data):
    data[:5] = 9
    print("filling", flush=True)
    signal.pause()

join(sys.argv[1]).take("key", 1000, fill)
"""


def eventually(holds: Callable[[], bool]) -> None:
    """Wait up to half a minute for something that another thread does."""
    for _ in range(3000):
        if holds():
            return
        gc.collect()
        time.sleep(0.01)
    raise AssertionError("it did not come about")


def memory_files() -> int:
    """Descriptors of memory files that this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            found += "memfd:pageann" in os.readlink(f"/proc/self/fd/{name}")
    return found


def filling(value: int, calls: list[int]) -> Callable[[Any], None]:
    """What fills an array with ``value`` and notes that it was called."""

    def fill(data: Any) -> None:
        calls.append(value)
        data[:] = value

    return fill


def test_one_fills_and_all_have_it() -> None:
    calls: list[int] = []
    with SharedArrays(3) as shared:
        holding = join(shared.address)
        assert holding.processes == 3
        first = holding.take("a", 5000, filling(7, calls))
        second = holding.take("a", 5000, filling(8, calls))
        other = holding.take("b", 10, filling(9, calls))
        assert calls == [7, 9]
        assert (first == 7).all()
        assert (second == 7).all()
        assert other.tolist() == [9] * 10
        assert first.ctypes.data % 4096 == 0
        assert first.flags.writeable, "kernels are compiled for arrays that may be written"
        assert shared.stats() == {"arrays": 2, "bytes": 5010}
        del first, other
        eventually(lambda: shared.stats() == {"arrays": 1, "bytes": 5000})
        assert (second == 7).all()
    assert (second == 7).all(), "what is held stays when nobody listens any more"
    with pytest.raises(StorageError, match="nobody shares memory there"):
        holding.take("c", 10, filling(1, calls))
    assert not Path(shared.address).parent.exists()


def test_nothing_of_no_bytes_is_shared() -> None:
    with SharedArrays(2) as shared:
        assert join(shared.address).take("empty", 0, lambda data: None).shape == (0,)
        assert shared.stats() == {"arrays": 0, "bytes": 0}


def test_nobody_can_change_what_is_shared(tmp_path: Path) -> None:
    program = """
import sys
from pageann.storage.shared import join
array = join(sys.argv[1]).take("key", 5000, lambda data: data.fill(3))
array[0] = 4
"""
    with SharedArrays(2) as shared:
        array = join(shared.address).take("key", 5000, lambda data: data.fill(3))
        done = subprocess.run([sys.executable, "-c", program, shared.address], check=False)
        assert done.returncode == -signal.SIGSEGV
        with pytest.raises(PermissionError):
            os.pwrite(shared._files["key"].fd, b"x", 0)
        assert (array == 3).all()


def test_who_fails_to_fill_leaves_it_to_the_next() -> None:
    calls: list[int] = []

    def fail(data: Any) -> None:
        data[:3] = 1
        raise ZeroDivisionError

    with SharedArrays(2) as shared:
        holding = join(shared.address)
        with pytest.raises(ZeroDivisionError):
            holding.take("key", 100, fail)
        assert holding.take("key", 100, filling(5, calls)).tolist() == [5] * 100


def test_who_waits_for_a_process_that_dies_fills_it_himself() -> None:
    found: list[Any] = []
    with SharedArrays(2) as shared:
        child = subprocess.Popen(
            [sys.executable, "-c", DYING, shared.address], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "filling\n"
            waiting = threading.Thread(
                target=lambda: found.append(join(shared.address).take("key", 1000, filling(2, [])))
            )
            waiting.start()
            waiting.join(0.2)
            assert not found, "it waits for who fills"
            os.kill(child.pid, signal.SIGKILL)
            waiting.join(30)
        finally:
            child.kill()
            child.communicate()
        assert found[0].tolist() == [2] * 1000


def test_what_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="processes=0"):
        SharedArrays(0)
    with pytest.raises(StorageError, match="nobody shares memory there"):
        join("/nowhere/arrays")


CROWDED = """
import resource, socket, time
from pageann import SharedArrays
from pageann.storage.shared import join

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
with SharedArrays(2) as shared:
    crowd = []
    try:
        while True:
            crowd.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            crowd[-1].connect(shared.address)
    except OSError:
        pass
    time.sleep(0.3)
    for connection in crowd:
        connection.close()
    print(join(shared.address).take("key", 100, lambda data: data.fill(4)).sum())
"""


def test_a_shortage_of_descriptors_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROWDED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("400\n", 0), done.stderr


def test_where_no_thread_is_to_be_had_the_other_side_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with SharedArrays(2) as shared:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            patch.setattr("pageann.storage.shared._GREETING_SECONDS", 20.0)
            begin = time.monotonic()
            with pytest.raises(StorageError, match="has ended"):
                join(shared.address)
            assert time.monotonic() - begin < 10
        assert join(shared.address).processes == 2


def test_a_refusal_says_why() -> None:
    with SharedArrays(2) as shared, pytest.raises(StorageError, match="no memory file is to be had there: "):
        join(shared.address).take("key", -5, lambda data: None)


def test_a_forked_child_keeps_nothing_and_ends_nothing() -> None:
    with SharedArrays(2) as shared:
        array = join(shared.address).take("key", 5000, filling(1, []))
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            shared.close()
            os.write(send, str(memory_files()).encode())
            os._exit(0)
        os.close(send)
        with os.fdopen(receive) as pipe:
            held = int(pipe.read())
        os.waitpid(child, 0)
        assert held == 1, "what it maps, by its own right"
        assert (array == 1).all()
        assert join(shared.address).take("key", 5000, filling(2, [])).sum() == 5000


def test_a_file_has_one_key_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    (tmp_path / "other").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    assert file_key(file) == file_key(Path("file")) == file_key(tmp_path / "other")
    file.unlink()
    file.write_bytes(b"changed")
    before = file_key(tmp_path / "file")
    (tmp_path / "next").write_bytes(b"another")
    (tmp_path / "next").replace(file)
    assert file_key(file) != before
