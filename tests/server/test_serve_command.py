"""The program: what keeps it from starting is one line, and several workers share a port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from pageann.server import IndexConfig, ServerConfig
from pageann.server.workers import share_of_worker
from tests.library.samples import Sample
from tests.server.program import Served
from tests.server.serving import Load, calling, eventually

QUIET = ("--metrics-listen", "")


def refusal(*arguments: str | Path) -> tuple[int, str]:
    """(exit code, last line) of a program that does not start."""
    with Served(*arguments) as program:
        code = program.process.wait(60.0)
        program._listener.join(60.0)
        assert not any("Traceback" in line for line in program.lines), program.lines
        return code, program.lines[-1]


def test_what_keeps_it_from_starting(sample: Sample, tmp_path: Path) -> None:
    code, line = refusal()
    assert code == 2
    assert "name at least one" in line
    code, line = refusal(tmp_path / "nowhere", "--listen", "127.0.0.1:0", *QUIET)
    assert code == 2
    assert re.search(r"no index at .*nowhere", line)
    code, line = refusal(sample.path, "--listen", "0.0.0.0:0")
    assert code == 2
    assert "insecure" in line
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, line = refusal(sample.path, "--listen", address, *QUIET)
        assert code == 4
        assert address in line
        code, line = refusal(sample.path, "--listen", "127.0.0.1:0", "--metrics-listen", address)
        assert code == 4
        assert "metrics_listen" in line
        code, line = refusal(sample.path, "--listen", address, *QUIET, "--workers", "2", "--memory", "1MiB")
        assert code == 4


@pytest.mark.slow
def test_workers_share_a_port_and_a_dead_one_is_replaced(sample: Sample) -> None:
    arguments = (sample.path, "--listen", "127.0.0.1:0", *QUIET, "--workers", "2", "--memory", "2MiB")
    with Served(*arguments, "--threads", "1") as program:
        program.says("listening on", times=2)
        address = program.says(r"2 workers on (\S+)")[1]
        children = [int(line) for line in children_of(program.process.pid)]
        assert len(children) == 2
        with Load(address, sample.queries, threads=4) as load:
            load.wait_for(100)
            load.end()
            assert load.failures == []
        eventually(lambda: uptime_seconds(children[0]) > 6, "a worker is old enough to be replaced")
        os.kill(children[0], signal.SIGKILL)
        program.says("started again")
        program.says("listening on", times=3)
        with calling(address, alone=True) as caller:
            caller.search(sample.queries[0])
        children = [int(line) for line in children_of(program.process.pid)]
        assert program.end() == 0
        for child in children:
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)


def children_of(pid: int) -> list[str]:
    """Processes below another."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def memory_files_of(pid: int) -> set[str]:
    """Inodes of the shared memory files that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if "memfd:pageann" in line}


def uptime_seconds(pid: int) -> float:
    """How long a process has run."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def test_workers_end_with_their_parent(sample: Sample) -> None:
    arguments = (sample.path, "--listen", "127.0.0.1:0", *QUIET, "--workers", "2", "--memory", "2MiB")
    with Served(*arguments, "--threads", "1") as program:
        program.says("listening on", times=2)
        children = [int(line) for line in children_of(program.process.pid)]
        first, second = (memory_files_of(child) for child in children)
        assert first == second != set(), "they hold the index once"
        program.process.kill()
        program.process.wait()

        def alive(pid: int) -> bool:
            with contextlib.suppress(OSError):
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            return False

        eventually(lambda: not any(alive(child) for child in children), "the workers have ended")


def two_workers(sample: Sample, *arguments: str) -> Served:
    """A program of two workers."""
    address = ("--listen", "127.0.0.1:0", *QUIET)
    return Served(sample.path, *address, "--workers", "2", "--memory", "2MiB", "--threads", "1", *arguments)


def test_a_second_signal_ends_workers_at_once(sample: Sample) -> None:
    # The notice lasts longer than the test would wait for the end.
    with two_workers(sample, "--notice-seconds", "300") as program:
        program.says("listening on", times=2)
        program.process.send_signal(signal.SIGTERM)
        program.says("going down", times=2)
        assert program.end() == 1


def test_a_worker_that_is_killed_at_its_start_is_no_success(sample: Sample) -> None:
    with two_workers(sample) as program:
        program.says(r"2 workers on (\S+)")
        eventually(lambda: len(children_of(program.process.pid)) == 2, "the workers run")
        os.kill(int(children_of(program.process.pid)[0]), signal.SIGKILL)
        assert program.process.wait(60.0) == 4


def test_what_each_worker_gets() -> None:
    config = ServerConfig(
        indexes=(IndexConfig("a", Path("/a")), IndexConfig("b", Path("/b"), "30%")),
        memory="64MiB",
        workers=4,
        metrics_listen="127.0.0.1:9000",
        access_log="/log",
    )
    share = share_of_worker(config, 3)
    assert (share.metrics_listen, share.workers, share.reuse_port) == ("127.0.0.1:9003", 1, True)
    assert share.access_log == "/log.3"
    assert (share.indexes, share.memory) == (config.indexes, config.memory), "the budget is of all together"
