"""Kill a build at random moments until it is done, and compare the bytes with an undisturbed one.

    python -m tests.reference.kill_builds INPUT WORKDIR [--kills 30] [--seed 0] [BUILD OPTIONS ...]

The undisturbed build comes first and says how long one takes; moments are drawn from that time. Each try goes
on with what the one before left; one that comes to its end is compared, and another build begun. Reported
is the mean time that a kill cost: the work lost, with starting and reading the input again.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "kill_builds"]

_MOST_TRIES = 500


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    kills: int
    whole_seconds: float
    """Of the undisturbed build."""
    lost_seconds: float
    """Mean time lost by one kill."""
    is_equal: bool
    """Whether the bytes are the same."""


def digest(path: Path) -> str:
    """One digest of all files of an index, names and content."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            found.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    found.update(block)
    return found.hexdigest()


def _start(source: Path, index: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pageann", "build", str(source), str(index), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _require(code: int) -> None:
    if code:
        raise SystemExit(f"the build ended with code {code}; run it by hand to see why")


def kill_builds(source: Path, folder: Path, kills: int, seed: int, options: list[str]) -> Outcome:
    """Build once undisturbed and once with ``kills`` kills, in ``folder``."""
    whole, killed = folder / "whole.pageann", folder / "killed.pageann"
    for path in (whole, killed):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    _require(_start(source, whole, options).wait())
    whole_seconds = time.monotonic() - begin
    generator = random.Random(seed)
    spent, done = 0.0, 0
    for _ in range(_MOST_TRIES):
        begin = time.monotonic()
        builder = _start(source, killed, options)
        wait = generator.uniform(0.0, whole_seconds)
        try:
            code = builder.wait(wait if done < kills else None)
        except subprocess.TimeoutExpired:
            builder.send_signal(signal.SIGKILL)
            builder.wait()
            done += 1
            if not (killed / "CURRENT").exists():
                spent += time.monotonic() - begin
                continue
            code = 0  # it had published already; another build would be version 2
        _require(code)
        spent += time.monotonic() - begin
        if done >= kills:
            break
        if digest(killed) != digest(whole):
            return Outcome(done, whole_seconds, 0.0, False)
        shutil.rmtree(killed)  # it came to its end between two kills: begin another
        spent -= whole_seconds
    lost = max(0.0, spent - whole_seconds) / max(1, done)
    return Outcome(done, whole_seconds, lost, digest(killed) == digest(whole))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments, options = parser.parse_known_args()
    outcome = kill_builds(arguments.input, arguments.workdir, arguments.kills, arguments.seed, options)
    print(
        f"{outcome.kills} kills; undisturbed {outcome.whole_seconds:.1f} s; "
        f"{outcome.lost_seconds:.1f} s lost a kill; bytes {'equal' if outcome.is_equal else 'DIFFER'}"
    )
    return 0 if outcome.is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
