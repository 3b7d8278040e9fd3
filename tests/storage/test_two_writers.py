"""Two builds of one index at once would publish a mixture, or remove each other's files.

The second must be turned away at once with the process number of the first, the lock must fall with
the process that held it, and a lock file that was left behind must lock nobody out.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pageann.errors import IndexLocked
from pageann.storage.directory import IndexDirectory
from pageann.storage.lock import WriterLock
from tests.reference.sample_index import build_sample

HOLDER = """
import sys
from pageann.storage.directory import IndexDirectory
with IndexDirectory(sys.argv[1]).writer() as writer:
    (writer.segment_path / "pages.bin").write_bytes(b"half")
    (writer.scratch_path / "neighbours").write_bytes(b"half")
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    """A process that is writing the index at ``path``."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.mark.parametrize("existing", [False, True])
def test_a_second_process_is_turned_away(tmp_path: Path, existing: bool) -> None:
    path = tmp_path / "index"
    if existing:
        build_sample(path, 1)
    with start_holder(path) as holder:
        with pytest.raises(IndexLocked, match=f"process {holder.pid} ") as caught:
            build_sample(path, 2)
        assert caught.value.pid == holder.pid
        assert (path / "seg-000001.tmp").exists() != existing, "the loser leaves the winner's files alone"
        if existing:
            assert IndexDirectory(path).current().version == 1
    build_sample(path, 2)
    assert not (path / "LOCK").exists()


def test_a_killed_writer_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with start_holder(path) as holder:
        holder.send_signal(signal.SIGKILL)
    assert (path / "LOCK").exists()
    build_sample(path, 1)
    assert sorted(file.name for file in path.iterdir()) == ["CURRENT", "manifest-000001.json", "seg-000001"]


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_killed_writer_had_in_scratch_is_kept_on_request(tmp_path: Path, keep: bool) -> None:
    path = tmp_path / "index"
    with start_holder(path) as holder:
        holder.send_signal(signal.SIGKILL)
    with IndexDirectory(path).writer(keep_scratch=keep) as writer:
        assert (writer.scratch_path / "neighbours").exists() == keep
        assert bool(list(writer.segment_path.iterdir())) == keep
    assert list(path.iterdir()) == []


def test_a_writer_in_the_same_process_is_turned_away(tmp_path: Path) -> None:
    with IndexDirectory(tmp_path / "index").writer():
        with pytest.raises(IndexLocked) as caught:
            build_sample(tmp_path / "index")
        assert caught.value.pid == os.getpid()
    build_sample(tmp_path / "index")


def test_a_lock_file_that_was_replaced_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking it, the file may be removed by the writer that is just done."""
    real_open, opened = os.open, []

    def open_then_lose(path: str, *arguments: int) -> int:
        fd = real_open(path, *arguments)
        opened.append(fd)
        if len(opened) == 1:
            os.unlink(path)
        return fd

    monkeypatch.setattr(os, "open", open_then_lose)
    lock = WriterLock(tmp_path)
    monkeypatch.undo()
    assert len(opened) == 2
    with pytest.raises(IndexLocked):
        WriterLock(tmp_path)
    lock.release()
    lock.release()
    WriterLock(tmp_path).release()
