"""Only hashes of keys are kept; a key counts from, or until, the next look at the file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pageann.errors import InvalidArgument
from pageann.server.keys import Caller, KeyRing, hashed_line
from tests.cli.conftest import program  # noqa: F401  (a fixture)
from tests.reference.program import Program

KEY, OTHER = "k" * 24, "another-key-of-32-characters-abc"


def write(path: Path, *lines: str) -> None:
    """Replace the file as an editor does: whole, under another inode."""
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(lines) + "\n")
    os.replace(fresh, path)


def test_keys_are_known_by_their_hash(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write(file, "# people", "", hashed_line("alice", "read", KEY), hashed_line("root", "admin", OTHER))
    assert KEY not in file.read_text()
    ring = KeyRing(file)
    assert ring.caller_of(KEY) == Caller("alice", False)
    assert ring.caller_of(OTHER.encode()) == Caller("root", True)
    for stranger in ("", KEY[:-1], KEY + "k", hashlib.sha256(KEY.encode()).hexdigest()):
        assert ring.caller_of(stranger) is None


def test_a_revoked_key_is_forgotten_and_a_new_one_known(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write(file, hashed_line("alice", "read", KEY))
    ring = KeyRing(file, [hashed_line("fixed", "read", "f" * 30)])
    assert not ring.refresh()
    write(file, hashed_line("bob", "read", OTHER))
    assert ring.refresh()
    assert (ring.caller_of(KEY), ring.caller_of(OTHER)) == (None, Caller("bob", False))
    file.unlink()
    assert ring.refresh()
    assert (ring.caller_of(OTHER), ring.caller_of("f" * 30)) == (None, Caller("fixed", False))


def test_a_spoilt_file_leaves_the_keys_in_force_and_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write(file, hashed_line("alice", "read", KEY))
    ring = KeyRing(file)
    write(file, "# fine", f"alice read {KEY}")
    with pytest.raises(InvalidArgument, match="line 2") as caught:
        ring.refresh()
    assert KEY not in str(caught.value)
    assert not ring.refresh()
    assert ring.caller_of(KEY) == Caller("alice", False)


@pytest.mark.parametrize("line", ["alice read", "alice write " + "a" * 64, "alice read zz", "a b read x"])
def test_lines_that_are_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    write(file, line)
    with pytest.raises(InvalidArgument, match="line 1"):
        KeyRing(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file of keys"):
        KeyRing(tmp_path / "nowhere")


@pytest.mark.parametrize("key", ["short", "k" * 19, "blank in the middle of a key", "é" * 30])
def test_weak_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match="at least 20"):
        hashed_line("alice", "read", key)


def test_the_program_makes_lines(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    outcome = program("serve", "--hash-key", "alice:admin")
    assert (outcome.code, outcome.out) == (0, hashed_line("alice", "admin", KEY) + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    outcome = program("serve", "--hash-key", "alice")
    assert outcome.code == 2
    assert "short" not in outcome.err.replace("if short", "")
