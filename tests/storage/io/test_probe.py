"""The driver is chosen by trying, and the choice says why.

Sandboxes forbid io_uring in several ways, and a wrong guess is an index that cannot be searched, or
one searched slowly with nobody knowing. A wish that cannot be fulfilled is refused, never replaced
in silence.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pageann.errors import InvalidArgument, StorageError
from pageann.storage.io.probe import Choice, probe
from pageann.storage.io.ring import Ring


def forbidden(entries: int) -> Ring:
    """A ring where a sandbox forbids it."""
    return Ring(entries, set_up=lambda entries, parameters: -errno.EPERM)


@pytest.fixture(autouse=True)
def no_wish_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGEANN_IO", raising=False)


def test_io_uring_is_chosen_where_it_works(uring: None, path: Path) -> None:
    choice = probe(path)
    assert (choice.driver, choice.reason) == ("uring", "io_uring works here")
    assert probe(path.parent) == choice


def test_threads_step_in_where_io_uring_is_forbidden(path: Path) -> None:
    choice = probe(path, open_ring=forbidden)
    assert (choice.driver, choice.reason) == ("threads", "io_uring_setup: EPERM; threads instead")


def test_an_explicit_wish_is_fulfilled(uring: None, path: Path) -> None:
    for name in ("uring", "threads", "aio"):
        choice = probe(path, name)
        assert choice.driver == name
        assert f"io={name}" in choice.reason


def test_a_wish_that_cannot_be_fulfilled_is_refused(path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"io=uring is not possible: io_uring_setup: EPERM; use"):
        probe(path, "uring", open_ring=forbidden)


def test_other_drivers_ask_for_no_ring(path: Path) -> None:
    assert probe(path, "threads", open_ring=forbidden).driver == "threads"
    assert probe(path, "aio", open_ring=forbidden).driver == "aio"


def test_an_unknown_name_is_refused_with_the_known_ones(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match=r"io=mmap.*auto, uring, threads, aio"):
        probe(path, "mmap")
    monkeypatch.setenv("PAGEANN_IO", "mmap")
    with pytest.raises(InvalidArgument, match="PAGEANN_IO=mmap"):
        probe(path)


def test_the_environment_stands_in_for_auto_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEANN_IO", "aio")
    assert probe(path) == Choice("aio", "asked for (PAGEANN_IO=aio)", probe(path).direct)
    assert probe(path, "threads").driver == "threads"
    monkeypatch.setenv("PAGEANN_IO", "uring")
    with pytest.raises(InvalidArgument, match="PAGEANN_IO=uring is not possible"):
        probe(path, open_ring=forbidden)


def test_a_ring_that_reads_wrongly_is_not_chosen(
    uring: None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As kernels before 5.6 do: there is a ring, but it knows no plain read.
    monkeypatch.setattr("pageann.storage.io.probe._OPERATION_READ", 255)
    assert probe(path).reason == "io_uring read: EINVAL; threads instead"


def test_an_empty_directory_is_probed_and_left_empty(tmp_path: Path) -> None:
    assert probe(tmp_path, open_ring=forbidden).driver == "threads"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        probe(tmp_path / "nowhere")


def test_the_choice_tells_whether_reads_are_direct(path: Path) -> None:
    from pageann.storage.io.files import open_for_reading

    with open_for_reading(path) as opened:
        assert probe(path, "threads").direct is opened.direct


def test_probing_loads_no_numba(path: Path) -> None:
    program = (
        "import sys; from pageann.storage.io.probe import probe; "
        "probe(sys.argv[1]); print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


SANDBOX = """
import ctypes, struct, sys
# A seccomp filter: io_uring_setup (425) answers EPERM, all else is allowed.
code = b"".join(struct.pack("HBBI", *line) for line in [
    (0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)])
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(program), 0, 0):
    print("no seccomp")
else:
    from pageann.storage.io.probe import probe
    print(probe(sys.argv[1]).reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is of Linux")
def test_a_real_sandbox_is_noticed(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SANDBOX, str(path)],
        env={key: value for key, value in os.environ.items() if key != "PAGEANN_IO"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    if done.stdout.strip() == "no seccomp":
        pytest.skip("seccomp filters are not to be had here")
    assert done.stdout.strip() == "io_uring_setup: EPERM; threads instead"
