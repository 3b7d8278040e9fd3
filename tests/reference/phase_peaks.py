"""The largest resident set of each phase of a build, as the kernel counts it: samples miss short peaks.

    python -m tests.reference.phase_peaks INPUT INDEX [--metric l2] [--memory 30%] [--build-memory 512MiB]

The kernel's high-water mark is read and reset (``/proc/self/clear_refs``) whenever a phase reports progress.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pageann
from pageann.results import Progress

__all__ = ["take_peak"]

_RESET_HIGH_WATER_MARK = "5"


def take_peak() -> tuple[int, int]:
    """(largest resident set since the last call, private memory now), in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text(_RESET_HIGH_WATER_MARK, encoding="ascii")
    peak, private = (
        int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) << 10 for name in ("VmHWM", "RssAnon")
    )
    return peak, private


def main() -> None:
    """Build, and print a line for each phase."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("index", type=Path)
    parser.add_argument("--metric", default="l2")
    parser.add_argument("--memory", default="30%")
    parser.add_argument("--build-memory")
    arguments = parser.parse_args()
    peaks: dict[str, tuple[int, int, float]] = {}

    def note(progress: Progress) -> bool:
        peak, private = take_peak()
        most, most_private, at = peaks.get(progress.phase, (0, 0, 0.0))
        if peak > most:
            most, at = peak, progress.fraction
        peaks[progress.phase] = most, max(most_private, private), at
        return True

    report = pageann.build(
        arguments.input,
        arguments.index,
        metric=arguments.metric,
        memory=arguments.memory,
        build_memory=arguments.build_memory,
        progress=note,
        replace=True,
    )
    for phase, (most, private, at) in peaks.items():
        print(f"{phase:12} {most >> 20:6} MiB at {at:.3f}, {private >> 20} MiB private when it reported")
    print(f"{report.seconds:.1f} s")


if __name__ == "__main__":
    main()
