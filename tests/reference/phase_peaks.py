"""Time, processor time and largest resident set of each phase of a build.

    python -m tests.reference.phase_peaks INPUT INDEX [--metric l2] [--memory 30%] [--build-memory 512MiB]
                                        [--disk 2.5x]

The kernel's high-water mark is read and reset (``/proc/self/clear_refs``) whenever a phase reports progress:
samples of the resident set miss short peaks.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import pageann
from pageann.results import Progress

__all__ = ["take_peak"]

_RESET_HIGH_WATER_MARK = "5"


def take_peak() -> int:
    """The largest resident set since the last call, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text(_RESET_HIGH_WATER_MARK, encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def main() -> None:
    """Build, and print a line for each phase."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("index", type=Path)
    parser.add_argument("--metric", default="l2")
    parser.add_argument("--memory", default="30%")
    parser.add_argument("--build-memory")
    parser.add_argument("--disk")
    arguments = parser.parse_args()
    peaks: dict[str, int] = {}
    cpu_seconds: dict[str, float] = {}
    running, last = "", time.process_time()

    def note(progress: Progress) -> bool:
        """What happened since the last event belongs to the phase that was running then."""
        nonlocal running, last
        peak, now = take_peak(), time.process_time()
        peaks[running] = max(peaks.get(running, 0), peak)
        cpu_seconds[running] = cpu_seconds.get(running, 0.0) + now - last
        running, last = progress.phase, now
        return True

    report = pageann.build(
        arguments.input,
        arguments.index,
        metric=arguments.metric,
        memory=arguments.memory,
        build_memory=arguments.build_memory,
        disk=arguments.disk,
        progress=note,
        replace=True,
    )
    for phase, seconds in report.phases:
        print(f"{phase:12} {seconds:7.1f} s {cpu_seconds[phase]:7.1f} s of CPU {peaks[phase] >> 20:6} MiB")
    print(f"{'all':12} {report.seconds:7.1f} s {sum(cpu_seconds.values()):7.1f} s of CPU")


if __name__ == "__main__":
    main()
