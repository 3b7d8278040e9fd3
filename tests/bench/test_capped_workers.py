"""A worker ends: by itself, by its time, or by the limit on its memory; and the reason is told.

Guarded: a comparison that waits for ever; a process left behind; a limit that is reported but not there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageann.bench.peers import cap as cap_module
from pageann.bench.peers.cap import Hierarchy, capped, find_hierarchy
from pageann.bench.peers.launch import PeerFailure, run_worker
from pageann.bench.peers.process import memory_bytes, peak_bytes, read_bytes

CASE: dict[str, Any] = {"rows": 50, "dim": 4, "dtype": "float32", "metric": "l2", "threads": 1, "options": {}}


@pytest.fixture
def search_task(tmp_path: Path) -> dict[str, Any]:
    """A search with faiss over 50 rows that it built before."""
    np.save(tmp_path / "base.npy", np.random.default_rng(0).standard_normal((50, 4), dtype=np.float32))
    np.save(tmp_path / "queries.npy", np.zeros((3, 4), np.float32))
    (tmp_path / "built").mkdir()
    common = {"peer": "faiss-hnsw", "case": CASE, "folder": str(tmp_path / "built")}
    run_worker({"action": "build", **common, "base": str(tmp_path / "base.npy")}, 60)
    files = {"ids": str(tmp_path / "ids.npy"), "latencies": str(tmp_path / "latencies.npy")}
    return {
        "action": "search", **common, **files, "queries": str(tmp_path / "queries.npy"), "k": 3,
        "setting": {"efSearch": 16}, "concurrency": 1,
    }  # fmt: skip


def test_a_search_waits_until_it_is_let_go(search_task: dict[str, Any]) -> None:
    ready: list[int] = []
    result = run_worker(search_task, 60, when_ready=ready.append)
    assert len(ready) == 1
    assert result["wall_seconds"] > 0
    assert np.load(search_task["ids"]).shape == (3, 3)


def test_a_worker_that_is_killed(search_task: dict[str, Any]) -> None:
    with pytest.raises(PeerFailure, match="killed by the system"):
        run_worker(search_task, 60, when_ready=lambda pid: os.kill(pid, signal.SIGKILL))


def test_a_worker_that_is_late(search_task: dict[str, Any]) -> None:
    with pytest.raises(PeerFailure, match=r"did not finish within 1\.5 s"):
        run_worker(search_task, 1.5, when_ready=lambda pid: os.kill(pid, signal.SIGSTOP))


def test_a_worker_that_fails_says_why() -> None:
    with pytest.raises(PeerFailure, match="'nothing' is unknown"):
        run_worker({"action": "describe", "peer": "nothing", "case": CASE}, 60)


def test_accounting_of_this_process(tmp_path: Path) -> None:
    before = memory_bytes()
    held = np.ones(64 << 20, np.uint8)
    after = memory_bytes()
    assert after["rss"] - before["rss"] > 60 << 20
    assert after["private"] - before["private"] > 60 << 20
    assert peak_bytes() >= after["rss"]
    assert read_bytes() >= 0
    assert held[-1] == 1


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_a_cgroup(tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, str] = {}
    hierarchy = Hierarchy(tmp_path, version)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(Path, "write_text", lambda self, text: written.__setitem__(self.name, text))
    with capped(hierarchy, 1 << 20, "some") as cap:
        assert (tmp_path / "some").is_dir()
        cap.hold(77)
    monkeypatch.undo()
    assert not (tmp_path / "some").exists()
    limits = (
        {"memory.limit_in_bytes": "1048576", "memory.memsw.limit_in_bytes": "1048576"}
        if version == 1
        else {"memory.max": "1048576", "memory.swap.max": "0"}
    )
    assert written == {**limits, "cgroup.procs": "77"}


def test_which_hierarchy_is_found(tmp_path: Path) -> None:
    assert find_hierarchy(tmp_path) is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu io memory pids")
    assert find_hierarchy(tmp_path) == Hierarchy(tmp_path, 2)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "cgroup.procs").write_text("")
    assert find_hierarchy(tmp_path) == Hierarchy(tmp_path / "memory", 1)


def test_a_process_over_its_limit_is_killed() -> None:
    hierarchy = cap_module.find_hierarchy()
    if hierarchy is None:
        pytest.skip("no memory cgroup can be made here")
    program = "import sys; print('here', flush=True); sys.stdin.readline(); bytearray(b'x') * (64 << 20)"
    for limit, expected in ((16 << 20, -signal.SIGKILL), (256 << 20, 0)):
        with capped(hierarchy, limit, f"pageann-test-{os.getpid()}") as cap:
            child = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert child.stdout is not None
            assert child.stdout.readline() == "here\n"
            cap.hold(child.pid)
            child.communicate("\n", timeout=60)
            assert child.returncode == expected
